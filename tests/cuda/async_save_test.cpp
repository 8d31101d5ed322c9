#include "megalith/checkpoint/async_saver.h"
#include "megalith/checkpoint/reader.h"
#include "megalith/ops/elementwise.h"

#include "tests/checkpoint/checkpoint_fixture.h"

namespace megalith {
namespace {

const Device kGpu{DeviceKind::kCuda, 0};

class CudaAsyncSaver : public CheckpointTest {};

// The copies take some 20 ms; without before_update() the second fill overtakes them.
TEST_F(CudaAsyncSaver, AnUpdateWaitsForTheCopies) {
  Exec exec({.device = kGpu});
  const std::unique_ptr<Communicator> self = make_self_communicator();
  const TestStore store({{"w", {256, 1 << 20}}, {"b", {1000}}}, DType::kF32, exec);
  AsyncSaver saver;
  saver.prepare(contents_of(store, 0), exec);
  for (int64_t iteration = 1; iteration <= 2; ++iteration) {
    for (const auto& parameter : store.parameters())
      fill(parameter->data, static_cast<double>(iteration), exec);
    saver.start(root_, contents_of(store, iteration), {.count = 1}, *self, exec);
    saver.before_update(exec);
    for (const auto& parameter : store.parameters()) fill(parameter->data, -1, exec);
    saver.finish(*self);

    TestStore loaded({{"w", {256, 1 << 20}}, {"b", {1000}}}, DType::kF32, exec);
    const CheckpointReader reader(root_);
    EXPECT_EQ(reader.iteration(), iteration);
    reader.read_model(loaded, exec);
    for (const auto& parameter : loaded.parameters()) {
      const std::vector<float> values = to_vector<float>(parameter->data);
      EXPECT_EQ(std::count(values.begin(), values.end(), static_cast<float>(iteration)),
                static_cast<int64_t>(values.size()))
          << parameter->name();
    }
  }
}

}  // namespace
}  // namespace megalith
