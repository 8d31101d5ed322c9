#include "megalith/infer/generate.h"

#include <algorithm>
#include <optional>

#include "megalith/infer/decode_step.h"
#include "megalith/infer/stop_strings.h"
#include "megalith/ops/sample_tokens.h"

namespace megalith {
namespace {

// A batch of sequences of one length, short ones padded on the left.
class Sequences {
 public:
  explicit Sequences(const std::vector<std::vector<int32_t>>& prompts) {
    for (const auto& prompt : prompts) length_ = std::max(length_, static_cast<int64_t>(prompt.size()));
    for (const auto& prompt : prompts) {
      const auto padding = static_cast<size_t>(length_) - prompt.size();
      padding_.push_back(static_cast<int32_t>(padding));
      rows_.emplace_back(padding, 0);
      rows_.back().insert(rows_.back().end(), prompt.begin(), prompt.end());
    }
  }

  int64_t batch() const { return static_cast<int64_t>(rows_.size()); }
  int64_t length() const { return length_; }
  const std::vector<int32_t>& padding() const { return padding_; }

  void push(const std::vector<int32_t>& next) {
    for (size_t row = 0; row < rows_.size(); ++row) rows_[row].push_back(next[row]);
    ++length_;
  }

  struct Input {
    Tensor ids;  // [B * S]
    ForwardContext context;
  };
  Input input(Exec& exec) const {
    std::vector<int32_t> ids, positions, first_keys;
    for (size_t row = 0; row < rows_.size(); ++row) {
      const int32_t padding = padding_[row];
      for (int32_t place = 0; place < static_cast<int32_t>(length_); ++place) {
        ids.push_back(rows_[row][static_cast<size_t>(place)]);
        positions.push_back(std::max(0, place - padding));
        first_keys.push_back(std::min(place, padding));  // padding sees itself
      }
    }
    const auto tokens = static_cast<int64_t>(ids.size());
    const auto on_device = [&](const std::vector<int32_t>& values, const Shape& shape) {
      return exec.from_host(std::span<const int32_t>(values), shape);
    };
    return {.ids = on_device(ids, {tokens}),
            .context = {.batch = batch(),
                        .positions = on_device(positions, {tokens}),
                        .first_key = on_device(first_keys, {batch(), length_})}};
  }

 private:
  std::vector<std::vector<int32_t>> rows_;
  std::vector<int32_t> padding_;
  int64_t length_ = 0;
};

// Text of one sequence as it grows.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, const std::vector<std::string>& stop_strings)
      : decoder_(tokenizer), stops_(stop_strings) {}

  std::string push(int32_t token) { return stops_.push(decoder_.push(token)); }
  std::string finish() {
    std::string text = stops_.push(decoder_.finish());
    return text + stops_.finish();
  }
  bool is_stopped() const { return stops_.found(); }

 private:
  StreamDecoder decoder_;
  StopStrings stops_;
};

void check_lengths(const LanguageModel& model, const std::vector<std::vector<int32_t>>& prompts,
                   int64_t max_new_tokens) {
  MG_CHECK(!prompts.empty(), "generate: there is no prompt");
  for (size_t i = 0; i < prompts.size(); ++i) {
    MG_CHECK(!prompts[i].empty(), "generate: prompt {} has no tokens", i);
    const int64_t needed = static_cast<int64_t>(prompts[i].size()) + max_new_tokens;
    MG_CHECK(model.max_positions() == 0 || needed <= model.max_positions(),
             "generate: prompt {} has {} tokens, with {} new ones more than the model's {} positions", i,
             prompts[i].size(), max_new_tokens, model.max_positions());
  }
}

}  // namespace

std::vector<Generation> generate(LanguageModel& model, const Tokenizer& tokenizer,
                                 const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, Exec& exec) {
  check_lengths(model, prompts, options.max_new_tokens);
  Sequences sequences(prompts);
  const size_t batch = prompts.size();
  std::vector<Generation> results(batch);
  std::vector<TextStream> streams(batch, TextStream(tokenizer, options.stop_strings));
  std::vector<bool> is_done(batch, false);
  const auto show = [&](size_t row, const std::string& text) {
    results[row].text += text;
    if (options.on_text && !text.empty()) options.on_text(row, text);
  };

  std::optional<KvCache> cache;
  if (options.use_cache)
    cache = model.make_cache(sequences.batch(), sequences.length() + options.max_new_tokens, exec);
  Tape tape(exec, {.is_recording = false, .recompute = {}});
  const RngKey rng = RngKey{options.seed, 0}.fold("generate");

  const auto whole_forward = [&](const std::vector<uint32_t>& words) {
    Sequences::Input input = sequences.input(exec);
    input.context.cache = cache ? &*cache : nullptr;
    const Tensor logits = model.last_logits(tape, input.context, input.ids);  // [B, padded V]
    const std::vector<int32_t> bits(words.begin(), words.end());
    const Tensor tokens = exec.empty({sequences.batch()}, DType::kI32);
    sample_tokens({.logits = logits.slice(1, 0, model.vocab_size()),
                   .words = exec.from_host(std::span<const int32_t>(bits), {sequences.batch()}),
                   .options = options.sampling,
                   .out = tokens},
                  exec);
    return tokens_on_host(tokens);
  };

  std::vector<int32_t> next(batch);
  std::optional<DecodeStep> decode;
  for (int64_t step = 0; step < options.max_new_tokens; ++step) {
    if (cache && step == 1) decode.emplace(model, *cache, sequences.padding(), exec, options.sampling);
    std::vector<uint32_t> words;
    for (size_t row = 0; row < batch; ++row) words.push_back(rng.fold(row).bits(static_cast<uint64_t>(step)));
    if (decode) {
      decode->run(next, words);
      next = decode->tokens();
    } else {
      next = whole_forward(words);
    }
    for (size_t row = 0; row < batch; ++row) {
      if (is_done[row]) {
        next[row] = 0;
        continue;
      }
      if (next[row] == tokenizer.eod()) {
        results[row].finish_reason = "eod";
        is_done[row] = true;
        continue;
      }
      results[row].tokens.push_back(next[row]);
      show(row, streams[row].push(next[row]));
      if (streams[row].is_stopped()) {
        results[row].finish_reason = "stop";
        is_done[row] = true;
      }
    }
    if (std::all_of(is_done.begin(), is_done.end(), [](bool done) { return done; })) break;
    if (options.should_stop && options.should_stop()) {
      for (size_t row = 0; row < batch; ++row) {
        if (!is_done[row]) results[row].finish_reason = "interrupted";
      }
      break;
    }
    sequences.push(next);
  }
  for (size_t row = 0; row < batch; ++row) {
    if (!streams[row].is_stopped()) show(row, streams[row].finish());
  }
  return results;
}

}  // namespace megalith
