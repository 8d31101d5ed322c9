#include "megalith/ops/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct Sizes {
  int64_t tokens, vocabulary, cols;
};
constexpr Sizes kSizes[] = {{1, 1, 1}, {7, 5, 13}, {0, 3, 4}, {300, 11, 65}, {50, 1000, 768}};

DType sum_dtype(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

TEST(Embedding, GathersRowsAndAddsPositions) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const auto& [tokens, vocabulary, cols] : kSizes) {
      for (const Layout layout : kLayouts) {
        EmbeddingArgs args;
        args.ids = ids_tensor(exec, tokens, vocabulary, 1);
        args.table = random_tensor(exec, {vocabulary, cols}, dtype, 2, layout);
        args.out = poisoned_tensor(exec, {tokens, cols}, dtype, layout);
        embedding(args, exec);
        const std::vector<double> ids = values_of(args.ids);
        const std::vector<double> table = values_of(args.table);
        std::vector<double> expected;
        for (const double id : ids) {
          for (int64_t c = 0; c < cols; ++c)
            expected.push_back(table[static_cast<size_t>(static_cast<int64_t>(id) * cols + c)]);
        }
        EXPECT_EQ(values_of(args.out), expected);

        args.positions = ids_tensor(exec, tokens, 9, 3);
        args.positions_table = random_tensor(exec, {9, cols}, dtype, 4, layout);
        embedding(args, exec);
        const std::vector<double> positions = values_of(args.positions);
        const std::vector<double> positions_table = values_of(args.positions_table);
        for (size_t i = 0; i < expected.size(); ++i) {
          const auto row = static_cast<int64_t>(positions[i / static_cast<size_t>(cols)]);
          expected[i] += positions_table[static_cast<size_t>(row * cols) + i % static_cast<size_t>(cols)];
        }
        expect_close(args.out, expected, tolerance(dtype, 1), "with positions");
      }
    }
  });
}

TEST(Embedding, BackwardAddsEveryTokenToItsRow) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const auto& [tokens, vocabulary, cols] : kSizes) {
      for (const Layout layout : kLayouts) {
        EmbeddingBackwardArgs args;
        args.ids = ids_tensor(exec, tokens, vocabulary, 1);
        args.d_out = random_tensor(exec, {tokens, cols}, dtype, 2, layout);
        args.d_table = poisoned_tensor(exec, {vocabulary, cols}, sum_dtype(dtype));
        args.accumulate = false;
        embedding_backward(args, exec);
        const std::vector<double> ids = values_of(args.ids);
        const std::vector<double> d_out = values_of(args.d_out);
        std::vector<double> expected(static_cast<size_t>(vocabulary * cols));
        for (size_t i = 0; i < d_out.size(); ++i) {
          const auto id = static_cast<int64_t>(ids[i / static_cast<size_t>(cols)]);
          expected[static_cast<size_t>(id * cols) + i % static_cast<size_t>(cols)] += d_out[i];
        }
        expect_close(args.d_table, expected, tolerance(sum_dtype(dtype), tokens + 1), "d_table");
        args.accumulate = true;
        embedding_backward(args, exec);
        for (double& each : expected) each *= 2;
        expect_close(args.d_table, expected, tolerance(sum_dtype(dtype), tokens + 1, 2),
                     "d_table, accumulated");
      }
    }
  });
}

TEST(Embedding, BackwardDoesNotDependOnTheThreads) {
  expect_same_for_any_threads([](Exec& exec) {
    EmbeddingBackwardArgs args;
    args.ids = ids_tensor(exec, 2000, 3, 1);
    args.d_out = random_tensor(exec, {2000, 101}, DType::kF32, 2);
    args.d_table = exec.zeros({3, 101}, DType::kF32);
    embedding_backward(args, exec);
    return bits_of(args.d_table);
  });
}

TEST(Embedding, NamesAnIdOutsideTheTable) {
  Exec exec;
  for (const int32_t bad : {-1, 5}) {
    const Tensor ids = exec.from_host<int32_t>(std::vector<int32_t>{0, bad, 4}, {3});
    const std::string message = fmt::format("ids[1] = {} is outside the table of 5 rows", bad);
    EXPECT_THAT(
        [&] {
          embedding(
              {.ids = ids, .table = exec.zeros({5, 2}, DType::kF32), .out = exec.zeros({3, 2}, DType::kF32)},
              exec);
        },
        ThrowsMessage<Error>(HasSubstr(message)));
    EXPECT_THAT(
        [&] {
          embedding_backward({.ids = ids,
                              .d_out = exec.zeros({3, 2}, DType::kF32),
                              .d_table = exec.zeros({5, 2}, DType::kF32)},
                             exec);
        },
        ThrowsMessage<Error>(HasSubstr(message)));
  }
}

TEST(EmbeddingPerformance, Table) {
  if (!performance_wanted()) GTEST_SKIP() << "set MEGALITH_PERF=1";
  Exec exec;
  for (const auto& [tokens, vocabulary, cols] : {Sizes{4096, 8192, 256}, {1024, 50257, 768}}) {
    const int64_t bytes = 4 * tokens * cols;
    const std::string suffix = fmt::format(" f32 [{}, {}] of {}", tokens, cols, vocabulary);
    EmbeddingArgs args{.ids = ids_tensor(exec, tokens, vocabulary, 1),
                       .table = random_tensor(exec, {vocabulary, cols}, DType::kF32, 2),
                       .out = exec.zeros({tokens, cols}, DType::kF32)};
    report_bandwidth("embedding" + suffix, 2 * bytes, exec.num_threads(), [&] { embedding(args, exec); });
    EmbeddingBackwardArgs back{.ids = args.ids, .d_out = args.out, .d_table = args.table};
    report_bandwidth("embedding backward" + suffix, 3 * bytes, exec.num_threads(),
                     [&] { embedding_backward(back, exec); });
  }
}

}  // namespace
}  // namespace megalith
