#include "megalith/checkpoint/load_model.h"

#include <gmock/gmock.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/config/recipe.h"
#include "megalith/models/gpt/hf_weights.h"
#include "megalith/models/positions.h"

#include "tests/checkpoint/checkpoint_fixture.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

GptConfig small_config() {
  GptConfig config;
  config.num_layers = 1;
  config.hidden_size = 16;
  config.num_attention_heads = 2;
  config.vocab_size = 11;
  config.make_vocab_size_divisible_by = 1;
  config.max_position_embeddings = 8;
  config.hidden_dropout = config.attention_dropout = 0;
  return config;
}

class LoadModelTest : public CheckpointTest {
 protected:
  void SetUp() override {
    CheckpointTest::SetUp();
    make_directories(root_);
    write_text_file(root_ / "tokenizer.json", "{}");
    model_.parameters().initialize(exec_);
  }

  static std::vector<float> logits_of(LanguageModel& model, Exec& exec) {
    const std::vector<int32_t> ids{1, 5, 10, 3};
    Tape tape(exec, {.is_recording = false, .recompute = {}});
    return to_vector<float>(model.logits(tape, {.positions = sequence_positions(1, 4, exec)},
                                         exec.from_host(std::span<const int32_t>(ids), {4})));
  }
  void save(const std::string& config_yaml) {
    CheckpointContents contents = contents_of(model_.parameters(), 7);
    contents.config_yaml = config_yaml;
    contents.tokenizer = root_ / "tokenizer.json";
    save_checkpoint(root_ / "run", contents);
  }

  Exec exec_;
  GptConfig config_ = small_config();
  GptModel model_{config_, exec_};
};

TEST_F(LoadModelTest, TakesACheckpointAndAHuggingFaceDirectory) {
  Options options;
  options.add({.name = "model", .title = "Model", .fields = {}, .validate = {}}, config_);
  save("train:\n  vocab_size: 3\n\n" + to_yaml(options, YamlComments::kHelp) + "\noptim:\n  lr: 1\n");
  const std::vector<float> wanted = logits_of(model_, exec_);
  const LoadedModel run = load_model(root_ / "run", exec_);
  EXPECT_EQ(logits_of(*run.model, exec_), wanted);
  EXPECT_EQ(run.tokenizer, root_ / "run" / "iter_0000007" / "tokenizer.json");
  EXPECT_EQ(logits_of(*load_model(root_ / "run" / "iter_0000007", exec_).model, exec_), wanted);

  write_hf_directory(root_ / "hf", model_, {}, exec_);
  const LoadedModel imported = load_model(root_ / "hf", exec_);
  EXPECT_EQ(logits_of(*imported.model, exec_), wanted);
  EXPECT_TRUE(imported.tokenizer.empty());
}

TEST_F(LoadModelTest, NamesWhatItWasGiven) {
  EXPECT_THAT([&] { load_model(root_ / "none", exec_); },
              ThrowsMessage<Error>(HasSubstr("no such directory")));
  EXPECT_THAT([&] { load_model(root_, exec_); },
              ThrowsMessage<Error>(HasSubstr("neither a checkpoint (latest_checkpointed_iteration.txt")));
  save("optim:\n  lr: 1\n");
  EXPECT_THAT([&] { load_model(root_ / "run", exec_); },
              ThrowsMessage<Error>(HasSubstr("no section 'model'")));
  save("model:\n  num_layer: 1\n");
  EXPECT_THAT([&] { load_model(root_ / "run", exec_); },
              ThrowsMessage<Error>(HasSubstr("did you mean num_layers?")));
}

}  // namespace
}  // namespace megalith
