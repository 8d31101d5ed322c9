// Groups of groups, and the group of one.
#include <gtest/gtest.h>

#include "tests/comm/launch.h"
#include "tests/comm/rank_tensors.h"

namespace megalith {
namespace {

std::vector<int64_t> members(Communicator& comm, int64_t own) {
  RankTensors tensors;
  const Tensor out = tensors.filled<int64_t>(comm.size(), -1);
  comm.all_gather(tensors.make<int64_t>({own}), out);
  return host<int64_t>(out);
}

TEST(Split, MeshOfTwoAxes) {
  launch(8, [](Communicator& world) {
    const int tp_rank = world.rank() % 2;
    const int dp_rank = world.rank() / 2;
    const auto tp = world.split({.colour = dp_rank, .name = "tp"});
    const auto dp = world.split({.colour = tp_rank, .name = "dp"});
    EXPECT_EQ(tp->name(), "tp");
    EXPECT_EQ(tp->rank(), tp_rank);
    EXPECT_EQ(tp->size(), 2);
    EXPECT_EQ(dp->rank(), dp_rank);
    EXPECT_EQ(dp->size(), 4);
    EXPECT_EQ(members(*tp, world.rank()), (std::vector<int64_t>{dp_rank * 2, dp_rank * 2 + 1}));
    EXPECT_EQ(members(*dp, world.rank()),
              (std::vector<int64_t>{tp_rank, 2 + tp_rank, 4 + tp_rank, 6 + tp_rank}));
  });
}

TEST(Split, KeyOrdersAndTiesKeepTheOldOrder) {
  launch(5, [](Communicator& world) {
    const auto reversed = world.split({.colour = 0, .key = -world.rank(), .name = "reversed"});
    EXPECT_EQ(reversed->rank(), 4 - world.rank());
    EXPECT_EQ(members(*reversed, world.rank()), (std::vector<int64_t>{4, 3, 2, 1, 0}));
    const auto tied = reversed->split({.colour = 3, .key = world.rank() == 2 ? 0 : 1});
    EXPECT_EQ(members(*tied, world.rank()), (std::vector<int64_t>{2, 4, 3, 1, 0}));
  });
}

TEST(Split, NoColourGivesNoGroup) {
  launch(4, [](Communicator& world) {
    const bool takes_part = world.rank() != 1;
    const auto part = world.split({.colour = takes_part ? 7 : SplitOptions::kNoColour});
    ASSERT_EQ(part != nullptr, takes_part);
    if (part) {
      EXPECT_EQ(members(*part, world.rank()), (std::vector<int64_t>{0, 2, 3}));
    }
    world.barrier();
  });
}

TEST(Split, GroupsWorkAtTheirOwnPace) {
  launch(4, [](Communicator& world) {
    const auto half = world.split({.colour = world.rank() / 2});
    RankTensors tensors;
    for (int i = 0; i < (world.rank() < 2 ? 200 : 50); ++i) {
      const Tensor x = tensors.filled<float>(3000, half->rank() + 1);
      half->all_reduce(x);
      ASSERT_EQ(x.data<float>()[2999], 3.0f);
    }
    EXPECT_EQ(members(world, world.rank()), (std::vector<int64_t>{0, 1, 2, 3}));
  });
}

TEST(Split, OutlivesItsParentObject) {
  launch(2, [](Communicator& world) {
    std::unique_ptr<Communicator> inner;
    {
      const auto outer = world.split({});
      inner = outer->split({.key = -world.rank()});
    }
    EXPECT_EQ(members(*inner, world.rank()), (std::vector<int64_t>{1, 0}));
  });
}

TEST(SelfCommunicator, EveryOperationIsACopy) {
  const auto comm = make_self_communicator();
  EXPECT_EQ(comm->rank(), 0);
  EXPECT_EQ(comm->size(), 1);
  RankTensors tensors;
  const Tensor in = tensors.values<float>(0, 777);
  const auto expected = host<float>(in);
  const auto check = [&](const auto& operation) {
    const Tensor out = tensors.filled<float>(777, 99);
    operation(out);
    EXPECT_EQ(host<float>(out), expected);
  };
  const int64_t rows[] = {777};
  check([&](const Tensor& out) { comm->all_gather(in, out); });
  check([&](const Tensor& out) { comm->reduce_scatter(in, out, ReduceOp::kAvg); });
  check([&](const Tensor& out) { comm->all_to_all(in, out); });
  check([&](const Tensor& out) { comm->all_to_all_v(in, rows, out, rows); });
  check([&](const Tensor& out) { comm->gather(in, out, 0); });
  check([&](const Tensor& out) { comm->scatter(in, out, 0); });
  check([&](const Tensor& out) { comm->send_recv(in, 0, out, 0); });
  comm->all_reduce(in, ReduceOp::kAvg);
  comm->broadcast(in, 0);
  comm->barrier();
  EXPECT_EQ(host<float>(in), expected);
}

TEST(SelfCommunicator, SplitsAndAborts) {
  const auto comm = make_self_communicator();
  EXPECT_EQ(comm->split({.colour = SplitOptions::kNoColour}), nullptr);
  const auto tp = comm->split({.colour = 2, .name = "tp"});
  EXPECT_EQ(tp->name(), "tp");
  EXPECT_EQ(tp->size(), 1);
  tp->barrier();
  comm->abort("enough");
  EXPECT_THROW(comm->barrier(), PeerFailure);
  EXPECT_THROW(tp->barrier(), PeerFailure);
}

}  // namespace
}  // namespace megalith
