#include "megalith/kernels/cuda/attention_choice.h"

#include <gtest/gtest.h>

namespace megalith::cuda {
namespace {

// A training step's attention.
AttentionDesc training() {
  return {.dtype = DType::kBF16,
          .batch = 8,
          .queries = 4096,
          .keys = 4096,
          .heads = 16,
          .kv_heads = 8,
          .head_dim = 128,
          .is_aligned = true};
}

template <class Change>
AttentionKernel chosen(const Change& change) {
  AttentionDesc desc = training();
  change(desc);
  return choose_attention_kernel(desc).kernel;
}

TEST(AttentionChoice, TensorCoresForHalfTypes) {
  for (const bool is_backward : {false, true}) {
    EXPECT_EQ(chosen([&](AttentionDesc& d) { d.is_backward = is_backward; }), AttentionKernel::kCudnn);
    EXPECT_EQ(chosen([&](AttentionDesc& d) { d.dtype = DType::kF16; }), AttentionKernel::kCudnn);
    EXPECT_EQ(chosen([&](AttentionDesc& d) { d.is_causal = false; }), AttentionKernel::kCudnn);
    EXPECT_EQ(chosen([&](AttentionDesc& d) { d.queries = 100; }), AttentionKernel::kCudnn);
    EXPECT_EQ(chosen([&](AttentionDesc& d) { d.has_window = true; }), AttentionKernel::kCudnn);
  }
}

TEST(AttentionChoice, CudnnTakesDocumentsNotOtherLimits) {
  const auto documents = [](AttentionDesc& d) { d.has_key_limits = d.has_documents = true; };
  EXPECT_EQ(chosen(documents), AttentionKernel::kCudnn);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { documents(d), d.is_backward = true; }), AttentionKernel::kCudnn);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { documents(d), d.has_window = true; }), AttentionKernel::kCudnn);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { documents(d), d.head_dim = 40; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { documents(d), d.head_dim = 256; }), AttentionKernel::kCudnn);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { documents(d), d.head_dim = 192, d.is_backward = true; }),
            AttentionKernel::kTiled);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { documents(d), d.has_dropout = true; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { documents(d), d.dtype = DType::kF32; }), AttentionKernel::kTiled);
}

TEST(AttentionChoice, TiledWhereCudnnDoesNotCompute) {
  EXPECT_EQ(chosen([](AttentionDesc& d) { d.dtype = DType::kF32; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([](AttentionDesc& d) { d.has_dropout = true; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([](AttentionDesc& d) { d.has_key_limits = true; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([](AttentionDesc& d) { d.has_key_gap = true; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([](AttentionDesc& d) { d.has_window = true, d.is_causal = false; }),
            AttentionKernel::kTiled);
  EXPECT_EQ(chosen([](AttentionDesc& d) { d.is_aligned = false; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([](AttentionDesc& d) { d.head_dim = 16; }), AttentionKernel::kTiled);
}

TEST(AttentionChoice, DecodeForFewQueries) {
  const auto few = [](AttentionDesc& d) { d.queries = 1; };
  EXPECT_EQ(chosen(few), AttentionKernel::kDecode);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { few(d), d.dtype = DType::kF32; }), AttentionKernel::kDecode);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { few(d), d.has_key_limits = true; }), AttentionKernel::kDecode);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { few(d), d.has_dropout = true; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { few(d), d.is_aligned = false; }), AttentionKernel::kTiled);
  EXPECT_NE(chosen([&](AttentionDesc& d) { few(d), d.is_backward = true; }), AttentionKernel::kDecode);
  EXPECT_NE(chosen([](AttentionDesc& d) { d.queries = kMaxDecodeQueries + 1; }), AttentionKernel::kDecode);
}

TEST(AttentionChoice, BackwardOfMoreElementsThanCudnnCounts) {
  AttentionDesc desc = training();
  desc.is_backward = true;
  EXPECT_EQ(max_backward_batch(desc), 255) << "a sequence has 2^23 elements";
  const auto long_one = [](AttentionDesc& d) { d.queries = d.keys = 1 << 20; };
  EXPECT_EQ(chosen(long_one), AttentionKernel::kCudnn);
  EXPECT_EQ(chosen([&](AttentionDesc& d) { long_one(d), d.is_backward = true; }), AttentionKernel::kTiled);
}

// Of the buffer for scores' gradients, 2 bytes for each head, query and key, not more than 2^30 where a head
// allows that; the heads of a sequence are split only where all of them are too many.
TEST(AttentionChoice, DeterministicBackwardInParts) {
  AttentionDesc desc = training();
  desc.is_backward = true;
  const auto part = [&] { return std::pair(backward_part(desc).batch, backward_part(desc).kv_heads); };
  EXPECT_EQ(part(), std::pair(8L, 8L));
  desc.is_deterministic = true;
  EXPECT_EQ(part(), std::pair(2L, 8L)) << "a sequence has 2^29 bytes";
  desc.queries = desc.keys = 8192;
  EXPECT_EQ(part(), std::pair(1L, 4L));
  desc.queries = desc.keys = 1 << 16;
  EXPECT_EQ(part(), std::pair(1L, 1L));
  desc.queries = desc.keys = 500;  // 512 by 512 with what cuDNN rounds up to
  EXPECT_EQ(part(), std::pair(8L, 8L));
  desc.batch = 200;
  EXPECT_EQ(part(), std::pair(128L, 8L));
}

TEST(AttentionChoice, DeterministicDocumentsAreNotCudnns) {
  const auto documents = [](AttentionDesc& d) {
    d.has_key_limits = d.has_documents = d.is_deterministic = true;
  };
  EXPECT_EQ(chosen(documents), AttentionKernel::kCudnn) << "the forward has one order";
  EXPECT_EQ(chosen([&](AttentionDesc& d) { documents(d), d.is_backward = true; }), AttentionKernel::kTiled);
  EXPECT_EQ(chosen([](AttentionDesc& d) { d.is_backward = d.is_deterministic = true; }),
            AttentionKernel::kCudnn);
}

TEST(AttentionChoice, RefusesWhatNoKernelTakes) {
  EXPECT_THROW(chosen([](AttentionDesc& d) { d.dtype = DType::kF64; }), Error);
  EXPECT_THROW(chosen([](AttentionDesc& d) { d.head_dim = 264; }), Error);
}

TEST(AttentionChoice, Prints) {
  EXPECT_EQ(choose_attention_kernel(training()).str(), "cudnn: tensor cores");
  EXPECT_EQ(training().str(), "forward bf16 B 8 S 4096 of 4096 N 16 of 8 D 128 causal");
}

}  // namespace
}  // namespace megalith::cuda
