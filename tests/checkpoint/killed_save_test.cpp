#include <algorithm>
#include <chrono>
#include <csignal>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "megalith/base/error.h"
#include "megalith/checkpoint/async_saver.h"
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

enum class Mode { kInLine, kBeside };

class KilledSaveTest : public CheckpointTest, public testing::WithParamInterface<Mode> {};

/// Beside: the tensors change while they are written.
void save(const std::filesystem::path& root, const ParameterStore& store, int64_t iteration, KeepLast keep,
          Mode mode, Exec& exec) {
  if (mode == Mode::kInLine) {
    save_checkpoint(root, contents_of(store, iteration), keep);
    return;
  }
  const std::unique_ptr<Communicator> self = make_self_communicator();
  AsyncSaver saver;
  saver.start(root, contents_of(store, iteration), keep, *self, exec);
  saver.before_update(exec);
  fill_store(store, -1);
  saver.finish(*self);
}

/// What a child does until it is killed: one save after the other; every third one replaces the one before.
[[noreturn]] void save_for_ever(const std::filesystem::path& root, int64_t first, Mode mode) {
  try {
    Exec exec({.device = {}, .num_threads = 1});
    const TestStore store(shapes(), DType::kF32, exec);
    for (int64_t iteration = first;; ++iteration) {
      fill_store(store, iteration - (iteration % 3 == 0 ? 1 : 0));
      save(root, store, iteration - (iteration % 3 == 0 ? 1 : 0), {.count = 2}, mode, exec);
    }
  } catch (...) {
  }
  _exit(3);
}

TEST_P(KilledSaveTest, LeavesAStateThatWasSaved) {
  Exec exec;
  const TestStore store(shapes(), DType::kF32, exec);
  const TestStore expected(shapes(), DType::kF32, exec);
  fill_store(store, 1);
  const auto begin = std::chrono::steady_clock::now();
  save(root_, store, 1, {}, GetParam(), exec);
  // Some saves long, also where the machine is slow.
  const std::chrono::microseconds life = std::max<std::chrono::microseconds>(
      std::chrono::milliseconds(200),
      std::chrono::duration_cast<std::chrono::microseconds>(8 * (std::chrono::steady_clock::now() - begin)));
  std::mt19937 random(5);
  int64_t newest = 1;
  for (int round = 0; round < 20; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) save_for_ever(root_, newest + 1, GetParam());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % life.count()));
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
TEST_P(KilledSaveTest, FullDiskIsAnErrorAndCostsNothing) {
  Exec exec;
  const TestStore store(shapes(), DType::kF32, exec);
  fill_store(store, 1);
  save_checkpoint(root_, contents_of(store, 1));

  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto previous = std::signal(SIGXFSZ, SIG_IGN);  // write() then fails with EFBIG
  const rlimit small{.rlim_cur = 500000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THAT([&] { save(root_, store, 2, {}, GetParam(), exec); },
              ThrowsMessage<Error>(AllOf(HasSubstr("iteration 2 was not saved"),
                                         HasSubstr("model.safetensors"), HasSubstr("File too large"))));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, previous);

  EXPECT_EQ(CheckpointReader(root_).iteration(), 1);
  EXPECT_FALSE(std::filesystem::exists(root_ / ".iter_0000002.tmp")) << "the space is given back";
  save(root_, store, 2, {}, GetParam(), exec);
  EXPECT_EQ(CheckpointReader(root_).iteration(), 2);
}

INSTANTIATE_TEST_SUITE_P(Modes, KilledSaveTest, testing::Values(Mode::kInLine, Mode::kBeside),
                         [](const auto& instance) {
                           return instance.param == Mode::kInLine ? "InLine" : "Beside";
                         });

}  // namespace
}  // namespace megalith
