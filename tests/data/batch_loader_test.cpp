#include "megalith/data/batch_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// Sample n is n * 100, n * 100 + 1, ...; reading `broken` fails.
class CountingSamples final : public SampleDataset {
 public:
  explicit CountingSamples(int64_t size, int64_t broken = -1) : size_(size), broken_(broken) {}
  int64_t size() const override { return size_; }
  int64_t seq_length() const override { return 3; }
  bool has_extra_token() const override { return true; }
  void read(int64_t sample, std::span<int32_t> text) const override {
    MG_CHECK(sample != broken_, "sample {} is broken", sample);
    for (size_t i = 0; i < text.size(); ++i)
      text[i] = static_cast<int32_t>(sample * 100 + static_cast<int64_t>(i));
  }

 private:
  int64_t size_;
  int64_t broken_;
};

std::vector<int32_t> first_tokens(const HostBatch& batch) {
  std::vector<int32_t> tokens;
  for (int64_t row = 0; row < batch.batch; ++row)
    tokens.push_back(batch.tokens[static_cast<size_t>(row * batch.seq)]);
  return tokens;
}

HostBatch batch_of(std::vector<int32_t> text, const MaskOptions& options, int64_t seq) {
  HostBatch batch;
  resize_batch(batch, 1, seq);
  fill_row(batch, 0, text, options);
  finish_batch(batch);
  return batch;
}

TEST(HostBatch, LabelsAreTheNextTokens) {
  const HostBatch batch = batch_of({5, 9, 7, 9, 8}, {.eod = 9}, 4);
  EXPECT_THAT(batch.tokens, ElementsAre(5, 9, 7, 9));
  EXPECT_THAT(batch.labels, ElementsAre(9, 7, 9, 8));
  EXPECT_THAT(batch.position_ids, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(batch.loss_mask, ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 4));
}

TEST(HostBatch, EndOfDocumentResetsAndMasks) {
  const HostBatch batch = batch_of(
      {9, 7, 6, 9, 5, 9, 1},
      {.eod = 9, .eod_mask_loss = true, .reset_position_ids = true, .reset_attention_mask = true}, 6);
  EXPECT_THAT(batch.loss_mask, ElementsAre(0, 1, 1, 0, 1, 0));
  EXPECT_THAT(batch.position_ids, ElementsAre(0, 0, 1, 2, 0, 1));
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 1, 4, 6));
}

TEST(HostBatch, PaddingHasNoLossAndBecomesTokenZero) {
  const HostBatch batch = batch_of({4, 5, kNoToken, kNoToken}, {}, 3);
  EXPECT_THAT(batch.tokens, ElementsAre(4, 5, 0));
  EXPECT_THAT(batch.labels, ElementsAre(5, 0, 0));
  EXPECT_THAT(batch.loss_mask, ElementsAre(1, 0, 0));
  // Without the extra token the last label is not known.
  const HostBatch short_batch = batch_of({4, 5, 6}, {}, 3);
  EXPECT_THAT(short_batch.labels, ElementsAre(5, 6, 0));
  EXPECT_THAT(short_batch.loss_mask, ElementsAre(1, 1, 0));
}

TEST(BatchLoader, RanksShareEachChunkAndDropTheRest) {
  const auto data = std::make_shared<CountingSamples>(11);
  for (int64_t rank = 0; rank < 2; ++rank) {
    BatchLoader loader(data, {.micro_batch_size = 2, .data_parallel_rank = rank, .data_parallel_size = 2});
    HostBatch batch;
    const auto first = static_cast<int32_t>(rank * 200);
    ASSERT_TRUE(loader.next(batch));
    EXPECT_THAT(first_tokens(batch), ElementsAre(first, first + 100));
    EXPECT_EQ(batch.first_sample, 0);
    EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 3, 6));
    ASSERT_TRUE(loader.next(batch));
    EXPECT_THAT(first_tokens(batch), ElementsAre(first + 400, first + 500));
    EXPECT_EQ(batch.first_sample, 4);
    EXPECT_FALSE(loader.next(batch));
    EXPECT_FALSE(loader.next(batch));
  }
}

TEST(BatchLoader, ResumesByConsumedSamples) {
  const auto data = std::make_shared<CountingSamples>(100);
  BatchLoader whole(data, {.micro_batch_size = 3});
  HostBatch wanted;
  for (int i = 0; i < 7; ++i) ASSERT_TRUE(whole.next(wanted));
  BatchLoader resumed(data, {.micro_batch_size = 3, .consumed_samples = 18});
  HostBatch batch;
  do {
    ASSERT_TRUE(resumed.next(batch));
    EXPECT_EQ(batch.tokens, wanted.tokens);
    EXPECT_EQ(batch.labels, wanted.labels);
    EXPECT_EQ(batch.first_sample, wanted.first_sample);
  } while (whole.next(wanted));
  EXPECT_FALSE(resumed.next(batch));
}

TEST(BatchLoader, ThrowsWhereTheThreadFailed) {
  BatchLoader loader(std::make_shared<CountingSamples>(100, 6), {.micro_batch_size = 2, .prefetch = 8});
  HostBatch batch;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(loader.next(batch));
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT([&] { loader.next(batch); }, ThrowsMessage<Error>("sample 6 is broken"));
  }
}

TEST(BatchLoader, EndsWhileTheQueueIsFull) {
  for (int i = 0; i < 50; ++i) {
    BatchLoader loader(std::make_shared<CountingSamples>(1000), {.prefetch = 1});
    HostBatch batch;
    if (i % 2 == 0) loader.next(batch);
  }
}

TEST(BatchLoader, RefusesWhatCannotBe) {
  const auto data = std::make_shared<CountingSamples>(10);
  EXPECT_THAT([&] { BatchLoader loader(data, {.micro_batch_size = 0}); },
              ThrowsMessage<Error>(HasSubstr("micro_batch_size is 0")));
  EXPECT_THAT([&] { BatchLoader loader(data, {.data_parallel_rank = 2, .data_parallel_size = 2}); },
              ThrowsMessage<Error>(HasSubstr("rank 2")));
}

}  // namespace
}  // namespace megalith
