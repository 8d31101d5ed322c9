#include <gmock/gmock.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/checkpoint/layout.h"
#include "megalith/checkpoint/reader.h"

#include "tests/checkpoint/checkpoint_fixture.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class SaveLoadTest : public CheckpointTest {
 protected:
  Exec exec_;
  const std::vector<std::pair<std::string, Shape>> shapes_ = {{"a.weight", {3, 5}}, {"a.bias", {7}}};

  void save(int64_t iteration, KeepLast keep = {}) {
    const TestStore store(shapes_, DType::kF32, exec_);
    fill_store(store, iteration);
    save_checkpoint(root_, contents_of(store, iteration), keep);
  }
};

TEST_F(SaveLoadTest, ReturnsEverythingThatWasSaved) {
  const TestStore store(shapes_, DType::kF32, exec_);
  fill_store(store, 3);
  CheckpointContents contents = contents_of(store, 3);
  const std::vector<float> moments{0.1f, -0.0f, 3e-38f};
  contents.optimizer.push_back({"exp_avg.a.bias", exec_.from_host(std::span<const float>(moments), {3})});
  make_directories(root_);
  write_text_file(root_ / "t.json", "{\"a\":1}");
  contents.tokenizer = root_ / "t.json";
  EXPECT_EQ(save_checkpoint(root_, contents), root_ / "iter_0000003");

  EXPECT_TRUE(holds_checkpoint(root_));
  EXPECT_TRUE(holds_checkpoint(root_ / "iter_0000003"));
  EXPECT_EQ(read_text_file(root_ / "latest_checkpointed_iteration.txt"), "3");
  for (const auto& path : {root_, root_ / "iter_0000003", root_ / "iter_0000003" / ""}) {
    const CheckpointReader reader(path);
    EXPECT_EQ(reader.iteration(), 3);
    EXPECT_EQ(reader.config_yaml(), contents.config_yaml);
    EXPECT_EQ(reader.state("consumed_samples"), "24");
    EXPECT_EQ(reader.model_dtype(), DType::kF32);
    EXPECT_EQ(read_text_file(reader.tokenizer()), "{\"a\":1}");
    const TestStore read(shapes_, DType::kF32, exec_);
    reader.read_model(read, exec_);
    EXPECT_EQ(to_vector<float>(read.find("a.weight").data), to_vector<float>(store.find("a.weight").data));
    EXPECT_EQ(to_vector<float>(read.find("a.bias").data), to_vector<float>(store.find("a.bias").data));
    const Tensor moment = exec_.empty({3}, DType::kF32);
    reader.read_optimizer("exp_avg.a.bias", {.whole = {3}, .length = 3}, moment, exec_);
    EXPECT_EQ(to_vector<float>(moment), moments);
    const Tensor master = exec_.empty({7}, DType::kF32);
    reader.read_optimizer("master.a.bias", {.whole = {7}, .length = 7}, master, exec_);
    EXPECT_EQ(to_vector<float>(master), to_vector<float>(store.find("a.bias").data))
        << "f32 weights are their master";
  }
  EXPECT_THAT([&] { CheckpointReader(root_).state("step"); }, ThrowsMessage<Error>(HasSubstr("no 'step'")));
}

TEST_F(SaveLoadTest, KeepsTheNewestAndReplacesAnIteration) {
  for (const int64_t iteration : {10, 20, 30, 40}) save(iteration, {.count = 2});
  EXPECT_THAT(saved_iterations(root_), ElementsAre(30, 40));
  save(40, {.count = 2});
  EXPECT_THAT(saved_iterations(root_), ElementsAre(30, 40));
  EXPECT_EQ(CheckpointReader(root_).iteration(), 40);
  // A run that was rolled back to 30 must not lose what it has just saved, nor what lies ahead.
  save(35, {.count = 1});
  EXPECT_THAT(saved_iterations(root_), ElementsAre(35, 40));
  EXPECT_EQ(CheckpointReader(root_).iteration(), 35);
  EXPECT_EQ(CheckpointReader(root_, CheckpointParts::kAll, 40).iteration(), 40);
  for (const auto& entry : std::filesystem::directory_iterator(root_)) {
    EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
  }
}

TEST_F(SaveLoadTest, RemovesWhatKilledSavesLeft) {
  save(1);
  make_directories(root_ / ".iter_0000002.tmp");
  write_text_file(root_ / ".iter_0000002.tmp" / "model.safetensors", "half");
  write_text_file(root_ / ".latest_checkpointed_iteration.txt.77.tmp", "2");
  write_text_file(root_ / "metrics.jsonl", "{}");
  EXPECT_EQ(CheckpointReader(root_).iteration(), 1);
  save(3);
  EXPECT_FALSE(std::filesystem::exists(root_ / ".iter_0000002.tmp"));
  EXPECT_FALSE(std::filesystem::exists(root_ / ".latest_checkpointed_iteration.txt.77.tmp"));
  EXPECT_TRUE(std::filesystem::exists(root_ / "metrics.jsonl"));
}

TEST_F(SaveLoadTest, ConvertsBetweenDtypes) {
  const TestStore wide({{"w", {2}}}, DType::kF32, exec_);
  wide.find("w").data.data<float>()[0] = 1.00390625f;  // between two bf16 values: the tie goes to even, 1.0
  wide.find("w").data.data<float>()[1] = 1.01171875f;  // the tie goes up, to 1.015625
  save_checkpoint(root_, contents_of(wide, 1));
  const TestStore narrow({{"w", {2}}}, DType::kBF16, exec_);
  CheckpointReader(root_).read_model(narrow, exec_);
  EXPECT_THAT(to_vector<float>(narrow.find("w").data), ElementsAre(1.0f, 1.015625f));

  CheckpointContents contents = contents_of(narrow, 2);
  contents.optimizer.push_back({"master.w", wide.find("w").data});
  save_checkpoint(root_, contents);
  const TestStore again({{"w", {2}}}, DType::kF32, exec_);
  CheckpointReader(root_).read_model(again, exec_);
  EXPECT_THAT(to_vector<float>(again.find("w").data), ElementsAre(1.00390625f, 1.01171875f))
      << "the master weights";
  CheckpointReader(root_, CheckpointParts::kModel).read_model(again, exec_);
  EXPECT_THAT(to_vector<float>(again.find("w").data), ElementsAre(1.0f, 1.015625f));
}

TEST_F(SaveLoadTest, NamesTheParameterOfAnotherModel) {
  save(1);
  const CheckpointReader reader(root_);
  const auto expect = [&](std::vector<std::pair<std::string, Shape>> shapes,
                          const testing::Matcher<std::string>& what) {
    const TestStore store(shapes, DType::kF32, exec_);
    EXPECT_THAT([&] { reader.read_model(store, exec_); }, ThrowsMessage<Error>(what));
  };
  expect({{"a.weight", {3, 6}}, {"a.bias", {7}}},
         AllOf(HasSubstr("model.safetensors: tensor 'a.weight'"), HasSubstr("[3, 5]"), HasSubstr("[3, 6]")));
  expect({{"a.weight", {3, 5}}}, HasSubstr("'a.bias' is not a parameter of the model"));
  expect({{"a.weight", {3, 5}}, {"a.bias", {7}}, {"a.scale", {1}}},
         HasSubstr("there is no tensor 'a.scale'"));
  EXPECT_THAT([&] { reader.read_optimizer("exp_avg.a.bias", {}, Tensor(), exec_); },
              ThrowsMessage<Error>(HasSubstr("without optimizer state")));
}

TEST_F(SaveLoadTest, NamesWhatIsTornAndOffersTheOneBefore) {
  save(1);
  save(2);
  save(3);
  const std::filesystem::path last = root_ / "iter_0000003";
  const std::string good_model = read_text_file(last / "model.safetensors");
  const std::string good_manifest = read_text_file(last / "manifest.json");
  const auto expect = [&](const char* file, const char* what) {
    EXPECT_THAT([&] { CheckpointReader reader(root_); },
                ThrowsMessage<Error>(AllOf(HasSubstr((*file ? last / file : last).string()), HasSubstr(what),
                                           HasSubstr("--load " + (root_ / "iter_0000002").string()))));
  };
  write_text_file(last / "model.safetensors", good_model.substr(0, good_model.size() - 3));
  expect("model.safetensors", "torn");
  std::string flipped = good_model;
  flipped[flipped.size() - 5] ^= 1;
  write_text_file(last / "model.safetensors", flipped);
  expect("model.safetensors", "corrupt: its checksum is");
  std::filesystem::remove(last / "model.safetensors");
  expect("model.safetensors", "No such file");
  write_text_file(last / "model.safetensors", good_model);
  EXPECT_EQ(CheckpointReader(root_).iteration(), 3);

  write_text_file(last / "manifest.json", good_manifest.substr(0, 100));
  expect("manifest.json", "torn or corrupt");
  std::string other = good_manifest;
  other.replace(other.find("\"24\""), 4, "\"25\"");
  write_text_file(last / "manifest.json", other);
  expect("manifest.json", "the file was altered");
  other = good_manifest;
  other.replace(other.find("\"version\": 1"), 12, "\"version\": 9");
  write_text_file(last / "manifest.json", other);
  expect("manifest.json", "format version 9");
  std::filesystem::remove_all(last);
  expect("", "the checkpoint is missing");

  // The one before is bad as well: the offer goes one further back.
  std::filesystem::remove(root_ / "iter_0000002" / "model.safetensors");
  EXPECT_THAT([&] { CheckpointReader reader(root_); },
              ThrowsMessage<Error>(HasSubstr("--load " + (root_ / "iter_0000001").string())));
  EXPECT_EQ(CheckpointReader(root_ / "iter_0000001").iteration(), 1);
  std::filesystem::remove_all(root_ / "iter_0000001");
  EXPECT_THAT([&] { CheckpointReader reader(root_); }, ThrowsMessage<Error>(HasSubstr("no earlier good")));
}

TEST_F(SaveLoadTest, SurvivesADamagedManifest) {
  save(1);
  const std::filesystem::path manifest = root_ / "iter_0000001" / "manifest.json";
  const std::string good = read_text_file(manifest);
  unsigned state = 12345;
  const auto random = [&] { return state = state * 1664525 + 1013904223; };
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    const size_t at = (random() >> 8) % bad.size();
    bad[at] = static_cast<char>(random() >> 24);
    if (round % 5 == 0) bad.resize(at);
    const std::filesystem::path path = root_ / fmt::format("m{}", round);
    FILE* file = std::fopen(path.c_str(), "wb");
    std::fwrite(bad.data(), 1, bad.size(), file);
    std::fclose(file);
    try {
      EXPECT_EQ(read_manifest(path), read_manifest(manifest));  // only blanks may change unnoticed
    } catch (const Error&) {
    }
  }
}

TEST_F(SaveLoadTest, NamesDirectoriesWithoutACheckpoint) {
  EXPECT_FALSE(holds_checkpoint(root_));
  EXPECT_THAT([&] { CheckpointReader reader(root_); }, ThrowsMessage<Error>(HasSubstr("no such directory")));
  make_directories(root_);
  EXPECT_THAT([&] { CheckpointReader reader(root_); },
              ThrowsMessage<Error>(HasSubstr("holds no checkpoint")));
  write_text_file(root_ / kLatestFile, "release");
  EXPECT_THAT([&] { CheckpointReader reader(root_); },
              ThrowsMessage<Error>(HasSubstr("'release', not the number of an iteration")));
  const TestStore store(shapes_, DType::kF32, exec_);
  write_text_file(root_ / "file", "");
  EXPECT_THAT([&] { save_checkpoint(root_ / "file", contents_of(store, 1)); },
              ThrowsMessage<Error>(HasSubstr((root_ / "file").string())));
  CheckpointContents broken = contents_of(store, 1);
  broken.state["k"] = "\xff";
  EXPECT_THAT([&] { save_checkpoint(root_, broken); }, ThrowsMessage<Error>(HasSubstr("UTF-8")));
  EXPECT_THAT(saved_iterations(root_), ElementsAre());
}

}  // namespace
}  // namespace megalith
