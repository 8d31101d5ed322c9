#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "megalith/base/files.h"
#include "megalith/checkpoint/save.h"
#include "megalith/cli/cli.h"
#include "megalith/cli/token_file.h"
#include "megalith/config/recipe.h"
#include "megalith/io/npy.h"
#include "megalith/io/safetensors.h"
#include "megalith/models/gpt/gpt_model.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class ModelCommandsTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::temp_directory_path() /
            fmt::format("mg_model_commands_{}_{}", getpid(),
                        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(root_);
    make_directories(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  std::string path(const std::string& name) const { return (root_ / name).string(); }
  std::string put(const std::string& name, const std::string& text) const {
    write_text_file(path(name), text);
    return path(name);
  }

  /// A small Llama with padding in the vocabulary, saved as a training run saves it.
  void save_run() const {
    GptConfig config;
    config.num_layers = 1;
    config.hidden_size = 16;
    config.num_attention_heads = 2;
    config.vocab_size = 11;
    config.make_vocab_size_divisible_by = 8;
    config.max_position_embeddings = 6;
    config.position_embedding_type = "rope";
    config.normalization = "RMSNorm";
    config.swiglu = true;
    config.add_bias_linear = false;
    config.ffn_hidden_size = 24;
    Options options;
    options.add({.name = "model", .title = "Model", .fields = {}, .validate = {}}, config);
    Exec exec;
    GptModel model(config, exec);
    model.parameters().initialize(exec);
    CheckpointContents contents{.iteration = 5,
                                .config_yaml = to_yaml(options),
                                .state = {},
                                .model = {},
                                .optimizer = {},
                                .tokenizer = {}};
    for (const auto& parameter : model.parameters().parameters()) {
      contents.model.push_back({parameter->name(), parameter->data});
    }
    save_checkpoint(path("run"), contents);
  }

  std::filesystem::path root_;
};

TEST_F(ModelCommandsTest, ExportedModelHasTheSameLogits) {
  save_run();
  const std::string tokens = put("tokens.txt", "1 2 3 10\n\n0, 0, 4, 9\n");
  ASSERT_EQ(run_cli({"logits", "--model", path("run"), "--tokens", tokens, "--out", path("a.npy")}), 0);
  const NpyArray ours = read_npy(path("a.npy"));
  EXPECT_THAT(ours.shape(), ElementsAre(2, 4, 11)) << "without padding";
  ASSERT_EQ(run_cli({"export", "--model", path("run"), "--out", path("hf")}), 0);
  EXPECT_EQ(SafetensorsFile(path("hf/model.safetensors")).at("model.embed_tokens.weight").info.shape,
            (Shape{11, 16}));
  ASSERT_EQ(run_cli({"logits", "--model", path("hf"), "--tokens", tokens, "--out", path("b.npy")}), 0);
  const NpyArray theirs = read_npy(path("b.npy"));
  for (size_t i = 0; i < ours.values<float>().size(); ++i) {
    ASSERT_NEAR(ours.values<float>()[i], theirs.values<float>()[i], 1e-6) << i;  // another width of GEMM
  }
}

TEST_F(ModelCommandsTest, BadInputIsNamed) {
  save_run();
  const auto error_of = [&](const std::vector<std::string>& arguments) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(run_cli(arguments), 1);
    return testing::internal::GetCapturedStderr();
  };
  const std::string long_line = put("long.txt", "1 2 3 4 5 6 7\n");
  EXPECT_THAT(error_of({"logits", "--model", path("run"), "--tokens", long_line, "--out", path("a.npy")}),
              AllOf(HasSubstr("long.txt"), HasSubstr("7 tokens"), HasSubstr("6 positions")));
  EXPECT_THAT(error_of({"logits", "--model", path("none"), "--tokens", long_line, "--out", path("a.npy")}),
              HasSubstr("none: there is no such directory"));
  EXPECT_THAT(error_of({"export", "--model", path("run"), "--out", root_.string()}), HasSubstr("not empty"));
  EXPECT_FALSE(std::filesystem::exists(path("a.npy")));
}

TEST_F(ModelCommandsTest, TokenFilesAreCheckedEntryByEntry) {
  const std::vector<int64_t> ids{3, 1, 4, 1, 5, 9};
  write_npy<int64_t>(path("a.npy"), ids, {2, 3});
  EXPECT_THAT(read_token_file(path("a.npy"), 10).ids, ElementsAre(3, 1, 4, 1, 5, 9));
  EXPECT_EQ(read_token_file(path("a.npy"), 10).seq, 3);
  EXPECT_THAT([&] { read_token_file(path("a.npy"), 9); },
              ThrowsMessage<Error>(HasSubstr("entry 5: 9 is not a token id; allowed: 0 to 8")));
  const auto rejects = [&](const std::string& text, const std::string& message) {
    const std::string file = put("b.txt", text);
    EXPECT_THAT([&] { read_token_file(file, 10); },
                ThrowsMessage<Error>(AllOf(HasSubstr(file), HasSubstr(message))));
  };
  rejects("1 2\n3 x4\n", ":2: 'x4' is not a token id");
  rejects("1 -2\n", ":1: '-2' is not");
  rejects("1 10\n", "allowed: 0 to 9");
  rejects("99999999999\n", "'99999999999' is not");
  rejects("1 2\n3\n", ":2: 1 tokens; the sequences before have 2");
  rejects("\n \n", "holds no tokens");
  const std::vector<float> floats{1, 2};
  write_npy<float>(path("f.npy"), floats, {2});
  EXPECT_THAT([&] { read_token_file(path("f.npy"), 10); }, ThrowsMessage<Error>(HasSubstr("holds float32")));
}

}  // namespace
}  // namespace megalith
