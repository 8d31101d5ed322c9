#include "megalith/data/gpt_indices.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/data/numpy_random.h"

namespace megalith {
namespace {

/// Epochs and samples; samples are counted over the stream of all epochs' tokens.
struct Plan {
  int64_t epochs = 1;
  int64_t samples = 0;
  /// Samples shuffled together first; the rest, those of a final epoch of which little is asked, after them.
  int64_t first_samples = 0;
  bool separate_final_epoch() const { return first_samples < samples; }
};

Plan plan_epochs(int64_t epoch_tokens, const GptIndexRequest& request) {
  constexpr double kFinalEpochThreshold = 0.80;
  const int64_t extra = request.add_extra_token_to_sequence ? 1 : 0;
  const int64_t length = request.seq_length;
  Plan plan;
  if (request.num_samples) {
    plan.epochs = std::max<int64_t>(1, ceil_div(*request.num_samples * length + extra, epoch_tokens));
  }
  const int64_t tokens = plan.epochs * epoch_tokens - extra;
  if (request.drop_last_partial_sequence) {
    plan.samples = tokens / length;
  } else {
    // The reference counts in float32; above 2^24 tokens the rounding shows, and is kept.
    plan.samples = static_cast<int64_t>(std::ceil(static_cast<float>(tokens) / static_cast<float>(length)));
  }
  plan.first_samples = plan.samples;
  if (plan.epochs > 1) {
    const int64_t sans_final = ((plan.epochs - 1) * epoch_tokens - extra) / length;
    const int64_t from_final = *request.num_samples - sans_final;
    const int64_t per_epoch = (epoch_tokens - extra) / length;
    if (from_final < static_cast<int64_t>(kFinalEpochThreshold * static_cast<double>(per_epoch))) {
      plan.first_samples = sans_final;
    }
  }
  return plan;
}

std::vector<int32_t> order_documents(const Plan& plan, SplitRange<int64_t> sequences,
                                     NumpyRandomState& random) {
  const int64_t per_epoch = sequences.end - sequences.begin;
  std::vector<int32_t> order(static_cast<size_t>(plan.epochs * per_epoch));
  for (int64_t epoch = 0; epoch < plan.epochs; ++epoch) {
    const auto begin = order.begin() + epoch * per_epoch;
    std::iota(begin, begin + per_epoch, static_cast<int32_t>(sequences.begin));
  }
  const std::span<int32_t> all(order);
  const size_t first = all.size() - (plan.separate_final_epoch() ? static_cast<size_t>(per_epoch) : 0);
  random.shuffle(all.first(first));
  random.shuffle(all.subspan(first));
  return order;
}

/// T is wide enough for the places in the document index and the offsets in a sequence.
template <class T>
std::vector<T> cut_samples(std::span<const int32_t> lengths, std::span<const int32_t> documents,
                           int64_t num_samples, const GptIndexRequest& request) {
  const int64_t extra = request.add_extra_token_to_sequence ? 1 : 0;
  std::vector<T> starts;
  starts.reserve(static_cast<size_t>(2 * (num_samples + 1)));
  size_t place = 0;
  int64_t offset = 0;
  const auto record = [&] {
    starts.push_back(static_cast<T>(place));
    starts.push_back(static_cast<T>(offset));
  };
  record();
  for (int64_t sample = 0; sample < num_samples; ++sample) {
    int64_t wanted = request.seq_length + extra;
    while (true) {
      const int64_t left = lengths[static_cast<size_t>(documents[place])] - offset;
      if (left >= wanted) {  // the next sample starts at the last token of this one
        offset += wanted - extra;
        break;
      }
      wanted -= left;
      if (place + 1 == documents.size()) {  // a last, partial sample
        offset = lengths[static_cast<size_t>(documents[place])] - extra;
        break;
      }
      ++place;
      offset = 0;
    }
    record();
  }
  return starts;
}

template <class T>
IndexArray order_samples(const Plan& plan, NumpyRandomState& random) {
  std::vector<T> order(static_cast<size_t>(plan.samples));
  std::iota(order.begin(), order.end(), T{0});
  const std::span<T> all(order);
  random.shuffle(all.first(static_cast<size_t>(plan.first_samples)));
  random.shuffle(all.subspan(static_cast<size_t>(plan.first_samples)));
  return IndexArray(std::move(order));
}

}  // namespace

GptIndices build_gpt_indices(std::span<const int32_t> lengths, const GptIndexRequest& request) {
  const auto [begin, end] = request.sequences;
  MG_ASSERT(begin >= 0 && begin <= end && end <= static_cast<int64_t>(lengths.size()));
  MG_CHECK(request.seq_length >= 1, "seq_length is {}, it must be at least 1", request.seq_length);
  MG_CHECK(lengths.size() <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
           "{}: {} sequences are too many (at most {})", request.name, lengths.size(),
           std::numeric_limits<int32_t>::max());
  const auto part = lengths.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  const int64_t epoch_tokens = std::accumulate(part.begin(), part.end(), int64_t{0});
  MG_CHECK(epoch_tokens > 0, "{}: sequences {} to {} hold no tokens to draw samples from", request.name,
           begin, end);

  const Plan plan = plan_epochs(epoch_tokens, request);
  MG_CHECK(plan.samples > 0, "{}: sequences {} to {} hold {} tokens, too few for one sample of seq_length {}",
           request.name, begin, end, epoch_tokens, request.seq_length);
  // One stream of random numbers runs through all shuffles: documents first, samples after.
  NumpyRandomState random(request.seed);
  std::vector<int32_t> documents = order_documents(plan, request.sequences, random);

  GptIndices indices;
  const int64_t widest = std::max<int64_t>(static_cast<int64_t>(documents.size()),
                                           *std::max_element(lengths.begin(), lengths.end()));
  if (widest <= std::numeric_limits<int32_t>::max()) {
    indices.sample_index =
        IndexArray(cut_samples<int32_t>(lengths, documents, plan.samples, request), {plan.samples + 1, 2});
  } else {
    indices.sample_index =
        IndexArray(cut_samples<int64_t>(lengths, documents, plan.samples, request), {plan.samples + 1, 2});
  }
  indices.document_index = IndexArray(std::move(documents));
  if (plan.samples >= std::numeric_limits<uint32_t>::max() - int64_t{1}) {
    indices.shuffle_index = order_samples<int64_t>(plan, random);
  } else {
    indices.shuffle_index = order_samples<uint32_t>(plan, random);
  }
  return indices;
}

}  // namespace megalith
