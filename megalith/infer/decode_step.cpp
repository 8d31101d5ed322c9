#include "megalith/infer/decode_step.h"

#include <algorithm>

#include "megalith/core/cuda/cuda_graph.h"
#include "megalith/core/has_cuda.h"
#include "megalith/ops/sample_tokens.h"

namespace megalith {

std::vector<int32_t> tokens_on_host(const Tensor& tokens) {
  std::vector<int32_t> values = to_vector<int32_t>(tokens);
  MG_CHECK(std::none_of(values.begin(), values.end(), [](int32_t token) { return token < 0; }),
           "sampling: a logit is not finite");
  return values;
}

DecodeStep::DecodeStep(LanguageModel& model, KvCache& cache, std::vector<int32_t> padding, Exec& exec,
                       const SamplingOptions& sampling)
    : model_(model), cache_(cache), padding_(std::move(padding)), exec_(exec), sampling_(sampling) {
  if (exec_.device().is_cuda() && model_.routers().empty()) {
    own_exec_ =
        std::make_unique<Exec>(ExecOptions{.device = exec_.device(), .num_threads = exec_.num_threads()});
    exec_.synchronize();  // the cache was filled on the other stream
  }
  const auto batch = static_cast<int64_t>(padding_.size());
  state_ = this->exec().empty({4 * batch + 2}, DType::kI32);
  next_ = this->exec().empty({batch}, DType::kI32);
  cache_.read_lengths(state_.slice(0, 4 * batch, 4 * batch + 1),
                      state_.slice(0, 4 * batch + 1, 4 * batch + 2));
}

DecodeStep::~DecodeStep() {
  cache_.read_lengths({}, {});
}

void DecodeStep::upload(std::span<const int32_t> ids, std::span<const uint32_t> words) {
  const auto length = static_cast<int32_t>(cache_.length());
  MG_CHECK(ids.size() == padding_.size(), "decode: {} tokens for {} sequences", ids.size(), padding_.size());
  MG_CHECK(words.size() == ids.size() || (words.empty() && sampling_.is_greedy()),
           "decode: {} random words for {} tokens", words.size(), ids.size());
  MG_CHECK(length < cache_.max_length(), "the KV cache holds {} tokens per sequence; {} are needed",
           cache_.max_length(), length + 1);
  std::vector<int32_t> state(ids.begin(), ids.end());
  for (const int32_t padding : padding_) state.push_back(length - padding);
  state.insert(state.end(), padding_.begin(), padding_.end());
  state.insert(state.end(), words.begin(), words.end());
  state.resize(4 * ids.size());
  state.push_back(length);
  state.push_back(length + 1);
  exec().upload(std::as_bytes(std::span(state)), state_);
}

void DecodeStep::forward() {
  const auto batch = static_cast<int64_t>(padding_.size());
  logits_ = {};  // its memory is taken again, which a capture needs
  Tape tape(exec(), {.is_recording = false, .recompute = {}});
  const ForwardContext context{.batch = batch,
                               .positions = state_.slice(0, batch, 2 * batch),
                               .first_key = state_.slice(0, 2 * batch, 3 * batch).view({batch, 1}),
                               .rng = {},
                               .cache = &cache_};
  logits_ = model_.last_logits(tape, context, state_.slice(0, 0, batch));
  sample_tokens({.logits = logits_.slice(1, 0, model_.vocab_size()),
                 .words = state_.slice(0, 3 * batch, 4 * batch),
                 .options = sampling_,
                 .out = next_},
                exec());
  is_warm_ = true;
}

void DecodeStep::run_again() {
  if constexpr (kHasCuda) {
    if (graph_ != nullptr) return graph_->launch();
  }
  forward();
  cache_.advance(-1);
}

const Tensor& DecodeStep::run(std::span<const int32_t> ids, std::span<const uint32_t> words) {
  upload(ids, words);
  if constexpr (kHasCuda) {
    if (own_exec_ && is_warm_) {
      if (graph_ == nullptr) {
        graph_ = std::make_shared<CudaGraph>(own_exec_->cuda(), [this] { forward(); });
      } else {
        cache_.advance(1);
      }
      graph_->launch();
      return logits_;
    }
  }
  forward();
  return logits_;
}

}  // namespace megalith
