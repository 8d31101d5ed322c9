#include "megalith/models/gpt/hf_weights.h"

#include <cstring>

#include <gmock/gmock.h>

#include "megalith/base/error.h"
#include "megalith/models/gpt/hf_names.h"

#include "tests/models/hf_fixture.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class HfWeightsTest : public HfDirectoryTest {
 protected:
  std::unique_ptr<GptModel> import(const std::filesystem::path& directory) {
    auto model = std::make_unique<GptModel>(read_hf_config(directory), exec_);
    read_hf_weights(directory, *model, exec_);
    return model;
  }
  static void expect_same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
    const SafetensorsFile left(a), right(b);
    ASSERT_EQ(left.entries().size(), right.entries().size());
    for (const SafetensorsEntry& entry : left.entries()) {
      const SafetensorsEntry& other = right.at(entry.info.name);
      EXPECT_EQ(entry.info.shape, other.info.shape) << entry.info.name;
      EXPECT_EQ(entry.info.dtype, other.info.dtype) << entry.info.name;
      EXPECT_EQ(std::memcmp(entry.bytes.data(), other.bytes.data(), entry.bytes.size()), 0)
          << entry.info.name;
    }
  }
  void expect_import_fails(const std::filesystem::path& directory,
                           const testing::Matcher<std::string>& what) {
    EXPECT_THAT([&] { import(directory); }, ThrowsMessage<Error>(what));
  }

  Exec exec_;
};

TEST_F(HfWeightsTest, ExportReturnsTheImportBitForBit) {
  for (const char* name : kHfModels) {
    SCOPED_TRACE(name);
    const std::filesystem::path directory = make_directory(load_hf_golden(name));
    const auto model = import(directory);
    write_text_file(root_ / "tokenizer.json", "{}");
    const std::filesystem::path out = root_ / "out" / name;
    write_hf_directory(out, *model, {.tokenizer = root_ / "tokenizer.json", .tokens = {}}, exec_);
    expect_same_tensors(directory / "model.safetensors", out / "model.safetensors");
    EXPECT_EQ(SafetensorsFile(out / "model.safetensors").metadata().at("format"), "pt");
    EXPECT_EQ(read_text_file(out / "tokenizer.json"), "{}");
    EXPECT_EQ(import(out)->parameters().num_elements(), model->parameters().num_elements());
    EXPECT_FALSE(std::filesystem::exists(root_ / "out" / fmt::format(".{}.tmp", name)));
  }
}

template <class T>
void write_rounded(const std::filesystem::path& path, std::vector<TensorInfo> infos, DType dtype) {
  for (TensorInfo& info : infos) info.dtype = dtype;
  SafetensorsWriter writer(path, infos);
  for (const TensorInfo& info : infos) {
    for (const float value : hf_weight(info.name, info.shape)) {
      const T rounded(value);
      writer.add(std::as_bytes(std::span(&rounded, 1)));
    }
  }
  writer.commit();
}

TEST_F(HfWeightsTest, HalfPrecisionIsKept) {
  const HfGolden golden = load_hf_golden("llama");
  for (const auto& [name, dtype] : {std::pair{"bfloat16", DType::kBF16}, {"float16", DType::kF16}}) {
    SCOPED_TRACE(name);
    const std::filesystem::path directory = root_ / name, out = root_ / "out" / name;
    std::filesystem::create_directories(directory);
    nlohmann::json config = nlohmann::json::parse(read_text_file(golden.directory / "config.json"));
    config["torch_dtype"] = name;
    write_text_file(directory / "config.json", config.dump());
    const auto write = dtype == DType::kBF16 ? write_rounded<bf16> : write_rounded<f16>;
    write(directory / "model.safetensors", golden.tensors, dtype);
    const auto model = import(directory);
    EXPECT_EQ(model->parameters().dtype(), dtype);
    write_hf_directory(out, *model, {}, exec_);
    expect_same_tensors(directory / "model.safetensors", out / "model.safetensors");
    EXPECT_EQ(read_hf_config(out).dtype(), dtype);
  }
}

TEST_F(HfWeightsTest, PutsTheRowsWhereTheModelNeedsThem) {
  const HfGolden golden = load_hf_golden("llama");
  const std::filesystem::path directory = make_directory(golden);
  GptConfig config = read_hf_config(directory);
  config.make_vocab_size_divisible_by = 64;
  config.vocab_size = 300;  // of the 320 in the file: an embedding of another size
  GptModel wrong(config, exec_);
  EXPECT_THAT([&] { read_hf_weights(directory, wrong, exec_); },
              ThrowsMessage<Error>(AllOf(HasSubstr("'model.embed_tokens.weight'"), HasSubstr("[320, 64]"),
                                         HasSubstr("[300, 64]"))));
  config.vocab_size = 320;
  config.make_vocab_size_divisible_by = 256;
  GptModel model(config, exec_);
  read_hf_weights(directory, model, exec_);
  const std::vector<float> embedding =
      to_vector<float>(model.parameters().find("embedding.word_embeddings.weight").data);
  ASSERT_EQ(embedding.size(), 512u * 64);
  for (size_t i = 320 * 64; i < embedding.size(); ++i) ASSERT_EQ(embedding[i], 0) << "padding";
  EXPECT_EQ(embedding[319 * 64 + 63], hf_weight("model.embed_tokens.weight", {320, 64}).back());

  const std::string layer = "model.layers.1.";
  const std::vector<float> qkv =
      to_vector<float>(model.parameters().find("decoder.layers.1.self_attention.linear_qkv.weight").data);
  std::vector<float> wanted;  // 8 heads and twice 2 groups of 8
  for (const auto& [name, rows] :
       {std::pair<const char*, int64_t>{"q_proj", 64}, {"k_proj", 16}, {"v_proj", 16}}) {
    const std::vector<float> part = hf_weight(layer + "self_attn." + name + ".weight", {rows, 64});
    wanted.insert(wanted.end(), part.begin(), part.end());
  }
  EXPECT_EQ(qkv, wanted);
  const std::vector<float> fc1 =
      to_vector<float>(model.parameters().find("decoder.layers.1.mlp.linear_fc1.weight").data);
  EXPECT_EQ(fc1[160 * 64], hf_weight(layer + "mlp.up_proj.weight", {160, 64})[0]) << "gate, then up";
}

TEST_F(HfWeightsTest, ReadsShards) {
  const HfGolden golden = load_hf_golden("llama");
  const std::filesystem::path whole = make_directory(golden);
  const std::filesystem::path directory = root_ / "shards";
  std::filesystem::create_directories(directory);
  write_text_file(directory / "config.json", read_text_file(golden.directory / "config.json"));
  const std::vector<std::string> files = {"model-00001-of-00002.safetensors",
                                          "model-00002-of-00002.safetensors"};
  const size_t half = golden.tensors.size() / 2;
  write_tensors(directory / files[0], {golden.tensors.begin(), golden.tensors.begin() + half});
  write_tensors(directory / files[1], {golden.tensors.begin() + half, golden.tensors.end()});
  nlohmann::json index;
  for (size_t i = 0; i < golden.tensors.size(); ++i) {
    index["weight_map"][golden.tensors[i].name] = files[i < half ? 0 : 1];
  }
  write_text_file(directory / "model.safetensors.index.json", index.dump());
  const auto model = import(directory);
  write_hf_directory(root_ / "out", *model, {}, exec_);
  expect_same_tensors(whole / "model.safetensors", root_ / "out" / "model.safetensors");

  const std::string last = golden.tensors.back().name;
  nlohmann::json bad = index;
  bad["weight_map"][last] = files[0];
  write_text_file(directory / "model.safetensors.index.json", bad.dump());
  expect_import_fails(directory, AllOf(HasSubstr("index.json"), HasSubstr(last), HasSubstr(files[0])));
  bad["weight_map"][last] = "../x";
  write_text_file(directory / "model.safetensors.index.json", bad.dump());
  expect_import_fails(directory, HasSubstr("'../x' is not the name of a file"));
  write_text_file(directory / "model.safetensors.index.json", "{}");
  expect_import_fails(directory, HasSubstr("not an index"));
  std::filesystem::remove(directory / "model.safetensors.index.json");
  expect_import_fails(directory, HasSubstr("neither model.safetensors nor"));
}

TEST_F(HfWeightsTest, NamesTheTensorThatIsWrong) {
  const HfGolden golden = load_hf_golden("llama3_tied");
  const std::filesystem::path directory = make_directory(golden);
  const std::filesystem::path file = directory / "model.safetensors";
  std::vector<TensorInfo> tensors = golden.tensors;
  tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {8}});
  tensors.push_back({"lm_head.weight", DType::kF32, {317, 64}});  // tied: a copy, as some files have it
  write_tensors(file, tensors);
  EXPECT_NO_THROW(import(directory));
  tensors.push_back({"model.layers.0.self_attn.q_norm.weight", DType::kF32, {16}});
  write_tensors(file, tensors);
  expect_import_fails(directory, AllOf(HasSubstr("'model.layers.0.self_attn.q_norm.weight' has no place"),
                                       HasSubstr("model.safetensors")));
  tensors = golden.tensors;
  tensors.pop_back();
  write_tensors(file, tensors);
  expect_import_fails(directory, HasSubstr("there is no tensor '" + golden.tensors.back().name + "'"));
  tensors = golden.tensors;
  for (TensorInfo& tensor : tensors) tensor.name = tensor.name.substr(tensor.name.find('.') + 1);
  write_tensors(file, tensors);
  EXPECT_NO_THROW(import(directory)) << "a model that was saved without its head";
}

TEST_F(HfWeightsTest, ExportKeepsWhatIsThere) {
  const auto model = import(make_directory(load_hf_golden("llama")));
  write_text_file(root_ / "full", "x");
  const std::filesystem::path out = root_ / "out";
  std::filesystem::create_directories(out);
  write_text_file(out / "mine.txt", "x");
  EXPECT_THAT([&] { write_hf_directory(out, *model, {}, exec_); },
              ThrowsMessage<Error>(HasSubstr("not empty")));
  EXPECT_THAT(
      [&] {
        write_hf_directory(root_ / "new", *model, {.tokenizer = root_ / "none.json", .tokens = {}}, exec_);
      },
      ThrowsMessage<Error>(HasSubstr("none.json")));
  EXPECT_FALSE(std::filesystem::exists(root_ / "new"));
  EXPECT_FALSE(std::filesystem::exists(root_ / ".new.tmp"));
}

}  // namespace
}  // namespace megalith
