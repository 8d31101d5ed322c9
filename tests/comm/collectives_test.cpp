// Every collective against a plain computation, for each number of ranks, dtype and length: empty, odd, at
// the bound of what is copied into the group, and long enough to be reduced in slices.
#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "tests/comm/launch.h"
#include "tests/comm/rank_tensors.h"

namespace megalith {
namespace {

constexpr int64_t kLengths[] = {0, 1, 3, 513, 1024, 1025, 5001};

template <class T>
class CollectivesTest : public testing::Test {};
using Types = testing::Types<double, float, bf16, f16, int64_t, int32_t>;
TYPED_TEST_SUITE(CollectivesTest, Types);

template <class Work>
void for_all_sizes(const Work& work) {
  for (const int num_ranks : {1, 2, 3, 4, 8}) {
    for (const int64_t length : kLengths) {
      SCOPED_TRACE(testing::Message() << num_ranks << " ranks, " << length << " elements");
      launch(num_ranks, [&](Communicator& comm) {
        RankTensors tensors;
        work(comm, tensors, length);
      });
    }
  }
}

// The plain computation: what all ranks hold at `index`, combined. The values are exact in every dtype, and
// so are their sums; the averages are rounded once.
template <class T>
T expected_reduction(ReduceOp op, int num_ranks, int64_t index) {
  int64_t result = value_of(0, index);
  for (int r = 1; r < num_ranks; ++r) {
    const int64_t value = value_of(r, index);
    if (op == ReduceOp::kMax) result = std::max(result, value);
    if (op == ReduceOp::kMin) result = std::min(result, value);
    if (op == ReduceOp::kSum || op == ReduceOp::kAvg) result += value;
  }
  if (op != ReduceOp::kAvg) return from_int<T>(result);
  if constexpr (std::is_same_v<T, double>) return static_cast<double>(result) / num_ranks;
  return T(static_cast<float>(result) / static_cast<float>(num_ranks));
}

template <class T>
std::vector<ReduceOp> ops_of() {
  if (std::is_integral_v<T>) return {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin};
  return {ReduceOp::kSum, ReduceOp::kMax, ReduceOp::kMin, ReduceOp::kAvg};
}

TYPED_TEST(CollectivesTest, AllReduce) {
  using T = TypeParam;
  for_all_sizes([](Communicator& comm, RankTensors& tensors, int64_t n) {
    for (const ReduceOp op : ops_of<T>()) {
      const Tensor x = tensors.values<T>(comm.rank(), n);
      comm.all_reduce(x, op, "x");
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(x.data<T>()[i], expected_reduction<T>(op, comm.size(), i)) << name_of(op) << " at " << i;
    }
  });
}

TYPED_TEST(CollectivesTest, ReduceScatter) {
  using T = TypeParam;
  for_all_sizes([](Communicator& comm, RankTensors& tensors, int64_t n) {
    for (const ReduceOp op : ops_of<T>()) {
      const Tensor in = tensors.values<T>(comm.rank(), n * comm.size());
      const Tensor out = tensors.filled<T>(n, 99);
      const int64_t first = comm.rank() * n;
      comm.reduce_scatter(in, out, op);
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(out.data<T>()[i], expected_reduction<T>(op, comm.size(), first + i)) << name_of(op);

      comm.reduce_scatter(in, in.slice(0, first, first + n), op);  // in place
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(in.data<T>()[first + i], expected_reduction<T>(op, comm.size(), first + i));
    }
  });
}

TYPED_TEST(CollectivesTest, AllGather) {
  using T = TypeParam;
  for_all_sizes([](Communicator& comm, RankTensors& tensors, int64_t n) {
    const Tensor out = tensors.filled<T>(n * comm.size(), 99);
    comm.all_gather(tensors.values<T>(comm.rank(), n), out);
    const Tensor in_place = tensors.filled<T>(n * comm.size(), 99);
    const Tensor own = in_place.slice(0, comm.rank() * n, (comm.rank() + 1) * n);
    for (int64_t i = 0; i < n; ++i) own.data<T>()[i] = from_int<T>(value_of(comm.rank(), i));
    comm.all_gather(own, in_place);
    for (int r = 0; r < comm.size(); ++r) {
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(out.data<T>()[r * n + i], from_int<T>(value_of(r, i)));
        ASSERT_EQ(in_place.data<T>()[r * n + i], from_int<T>(value_of(r, i)));
      }
    }
  });
}

TYPED_TEST(CollectivesTest, BroadcastGatherAndScatterFromEveryRoot) {
  using T = TypeParam;
  for_all_sizes([](Communicator& comm, RankTensors& tensors, int64_t n) {
    for (int root = 0; root < comm.size(); ++root) {
      const bool is_root = comm.rank() == root;
      const Tensor x = tensors.values<T>(comm.rank(), n);
      const Tensor all = is_root ? tensors.filled<T>(n * comm.size(), 99) : Tensor();
      comm.gather(x, all, root);
      comm.broadcast(x, root);
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(x.data<T>()[i], from_int<T>(value_of(root, i)));
      if (is_root) {
        for (int64_t i = 0; i < n * comm.size(); ++i)
          ASSERT_EQ(all.data<T>()[i], from_int<T>(value_of(static_cast<int>(i / n), i % n)));
      }
      const Tensor block = tensors.filled<T>(n, 99);
      comm.scatter(all, block, root);
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(block.data<T>()[i], from_int<T>(value_of(comm.rank(), i)));
    }
  });
}

TYPED_TEST(CollectivesTest, AllToAll) {
  using T = TypeParam;
  for_all_sizes([](Communicator& comm, RankTensors& tensors, int64_t n) {
    const Tensor in = tensors.values<T>(comm.rank(), n * comm.size());
    const Tensor out = tensors.filled<T>(n * comm.size(), 99);
    comm.all_to_all(in, out);
    for (int r = 0; r < comm.size(); ++r)
      for (int64_t i = 0; i < n; ++i)
        ASSERT_EQ(out.data<T>()[r * n + i], from_int<T>(value_of(r, comm.rank() * n + i)));
  });
}

TEST(Collectives, AllToAllOfDifferentCounts) {
  // Rank s sends (s + 2 d) % 4 rows to rank d; each row tells where it comes from and goes to.
  const auto rows = [](int source, int target) { return int64_t{(source + 2 * target) % 4}; };
  constexpr int64_t kWidth = 3;
  for (const int num_ranks : {1, 2, 3, 4, 8}) {
    launch(num_ranks, [&](Communicator& comm) {
      RankTensors tensors;
      std::vector<int64_t> send_rows, recv_rows, sent, expected;
      for (int peer = 0; peer < comm.size(); ++peer) {
        send_rows.push_back(rows(comm.rank(), peer));
        recv_rows.push_back(rows(peer, comm.rank()));
        for (int64_t i = 0; i < send_rows.back() * kWidth; ++i)
          sent.push_back(comm.rank() * 10000 + peer * 100 + i);
        for (int64_t i = 0; i < recv_rows.back() * kWidth; ++i)
          expected.push_back(peer * 10000 + comm.rank() * 100 + i);
      }
      const Tensor in = tensors.make(sent).view({-1, kWidth});
      const Tensor out = tensors.filled<int64_t>(static_cast<int64_t>(expected.size()), 0).view({-1, kWidth});
      comm.all_to_all_v(in, send_rows, out, recv_rows, "tokens");
      EXPECT_EQ(host<int64_t>(out), expected);
    });
  }
}

TEST(Collectives, SumsInRankOrderWithOneRounding) {
  launch(4, [](Communicator& comm) {
    RankTensors tensors;
    // ((1e8 + 1) - 1e8) + 1 in f32: the 1 of rank 1 is lost, that of rank 3 is not.
    const float parts[] = {1e8f, 1.0f, -1e8f, 1.0f};
    const Tensor x = tensors.make(std::vector<float>(2000, parts[comm.rank()]));
    comm.all_reduce(x);
    EXPECT_EQ(host<float>(x), std::vector<float>(2000, 1.0f));
    // In bf16 (8 bits) 256 + 1 would be 256 again and again; in f32 it is 259, which rounds to 260.
    const Tensor y = tensors.make(std::vector<bf16>(3000, bf16(comm.rank() == 0 ? 256.0f : 1.0f)));
    comm.all_reduce(y);
    EXPECT_EQ(host<bf16>(y), std::vector<bf16>(3000, bf16(260.0f)));
  });
}

TEST(Collectives, IntegersWrapAndNanStays) {
  launch(3, [](Communicator& comm) {
    RankTensors tensors;
    const Tensor x = tensors.make<int32_t>({comm.rank() == 0 ? INT32_MAX : 1});
    comm.all_reduce(x);
    EXPECT_EQ(x.data<int32_t>()[0], INT32_MIN + 1);
    const auto with_nan = [&](int rank) { return comm.rank() == rank ? std::nanf("") : 1.0f; };
    for (const ReduceOp op : {ReduceOp::kMax, ReduceOp::kMin, ReduceOp::kSum, ReduceOp::kAvg}) {
      const Tensor y = tensors.make<float>({with_nan(0), with_nan(1), with_nan(2), 1.0f});
      comm.all_reduce(y, op);
      for (int i = 0; i < 3; ++i) EXPECT_TRUE(std::isnan(y.data<float>()[i])) << name_of(op) << i;
      EXPECT_FALSE(std::isnan(y.data<float>()[3]));
    }
  });
}

TEST(Collectives, BytesAreMovedButNotReduced) {
  launch(2, [](Communicator& comm) {
    RankTensors tensors;
    const Tensor x = tensors.make<uint8_t>({uint8_t(comm.rank() + 250)});
    comm.broadcast(x, 1);
    EXPECT_EQ(x.data<uint8_t>()[0], 251);
    EXPECT_THROW(comm.all_reduce(x), Error);
  });
}

}  // namespace
}  // namespace megalith
