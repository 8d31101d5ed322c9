#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "megalith/base/error.h"
#include "megalith/checkpoint/layout.h"
#include "megalith/checkpoint/reader.h"

#include "tests/checkpoint/checkpoint_fixture.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

const std::vector<std::pair<std::string, Shape>>& shapes() {
  static const std::vector<std::pair<std::string, Shape>> shapes = {{"w", {300, 1000}}, {"b", {1000}}};
  return shapes;
}

class KilledSaveTest : public CheckpointTest {};

/// What a child does until it is killed: one save after the other; every third one replaces the one before.
[[noreturn]] void save_for_ever(const std::filesystem::path& root, int64_t first) {
  try {
    Exec exec({.device = {}, .num_threads = 1});
    const ParameterStore store = make_store(shapes(), DType::kF32, exec);
    for (int64_t iteration = first;; ++iteration) {
      fill_store(store, iteration - (iteration % 3 == 0 ? 1 : 0));
      save_checkpoint(root, contents_of(store, iteration - (iteration % 3 == 0 ? 1 : 0)), {.count = 2});
    }
  } catch (...) {
  }
  _exit(3);
}

TEST_F(KilledSaveTest, LeavesAStateThatWasSaved) {
  Exec exec;
  const ParameterStore store = make_store(shapes(), DType::kF32, exec);
  const ParameterStore expected = make_store(shapes(), DType::kF32, exec);
  fill_store(store, 1);
  save_checkpoint(root_, contents_of(store, 1));
  std::mt19937 random(5);
  int64_t newest = 1;
  for (int round = 0; round < 30; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) save_for_ever(root_, newest + 1);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200000));
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself";

    const CheckpointReader reader(root_);
    EXPECT_GE(reader.iteration(), newest);
    newest = reader.iteration();
    EXPECT_EQ(reader.state("consumed_samples"), std::to_string(newest * 8));
    reader.read_model(store, exec);
    fill_store(expected, newest);
    EXPECT_EQ(to_vector<float>(store.find("w").data), to_vector<float>(expected.find("w").data));
    EXPECT_EQ(to_vector<float>(store.find("b").data), to_vector<float>(expected.find("b").data));
  }
  EXPECT_GT(newest, 5) << "the children never came to save";
}

/// A file system that is full, as a process with a file size limit sees it.
TEST_F(KilledSaveTest, FullDiskIsAnErrorAndCostsNothing) {
  Exec exec;
  const ParameterStore store = make_store(shapes(), DType::kF32, exec);
  fill_store(store, 1);
  save_checkpoint(root_, contents_of(store, 1));

  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);  // write() then fails with EFBIG
  const rlimit small{.rlim_cur = 500000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THAT([&] { save_checkpoint(root_, contents_of(store, 2)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("iteration 2 was not saved"),
                                         HasSubstr("model.safetensors"), HasSubstr("File too large"))));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, previous);

  EXPECT_EQ(CheckpointReader(root_).iteration(), 1);
  EXPECT_FALSE(std::filesystem::exists(root_ / ".iter_0000002.tmp")) << "the space is given back";
  save_checkpoint(root_, contents_of(store, 2));
  EXPECT_EQ(CheckpointReader(root_).iteration(), 2);
}

}  // namespace
}  // namespace megalith
