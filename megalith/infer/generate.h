#pragma once
// defines: GenerateOptions, Generation, generate

#include <functional>
#include <string>
#include <vector>

#include "megalith/kernels/sampling.h"
#include "megalith/models/language_model.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  std::vector<std::string> stop_strings;
  uint64_t seed = 42;
  bool use_cache = true;  ///< false: the whole sequence is computed anew for every token (for comparison)
  /// Called with each piece of text as it becomes certain.
  std::function<void(size_t sequence, const std::string& text)> on_text;
  /// Asked between tokens; true ends the generation.
  std::function<bool()> should_stop;
};

struct Generation {
  std::vector<int32_t> tokens;           ///< new ones
  std::string text;                      ///< of the new tokens, without the stop string
  const char* finish_reason = "length";  ///< "length", "stop" (stop string), "eod" or "interrupted"
};

/// Continues every prompt (token ids; not empty) as one batch; prompts of different lengths are padded on the
/// left and do not see the padding. A sequence's draws depend on (seed, its place in the batch, token number)
/// alone. Throws Error when a prompt and the new tokens exceed the model's positions.
std::vector<Generation> generate(LanguageModel& model, const Tokenizer& tokenizer,
                                 const std::vector<std::vector<int32_t>>& prompts,
                                 const GenerateOptions& options, Exec& exec);

}  // namespace megalith
