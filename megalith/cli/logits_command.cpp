#include <algorithm>
#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/checkpoint/load_model.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/token_file.h"
#include "megalith/core/choose_device.h"
#include "megalith/io/npy.h"
#include "megalith/models/positions.h"

namespace megalith {
namespace {

struct LogitsOptions {
  std::string model;
  std::string tokens;
  std::string out;
  std::string device = "auto";
  int64_t num_threads = 0;
};

void declare_fields(LogitsOptions& c, FieldList& f) {
  f.add("model", c.model,
        {.help = "run, checkpoint or Hugging Face directory",
         .value_name = "DIR",
         .main = true,
         .required = true});
  f.add("tokens", c.tokens,
        {.help = "token ids: .npy of shape [S] or [B, S], or a text with one sequence a line",
         .value_name = "FILE",
         .main = true,
         .required = true});
  f.add("out", c.out,
        {.help = "f32 logits [B, S, vocab_size]", .value_name = "X.npy", .main = true, .required = true});
  f.add("device", c.device, {.help = "auto (a GPU where there is one), cpu, cuda, cuda:N"});
  f.add("num_threads", c.num_threads, {.help = "threads; 0: OMP_NUM_THREADS or all cores", .min = 0});
}

void run_logits(CommandLine& line) {
  LogitsOptions options;
  line.add("logits", "Logits", options);
  if (!line.parse()) return;
  Exec exec({.device = choose_device(options.device), .num_threads = static_cast<int>(options.num_threads)});
  const LoadedModel loaded = load_model(options.model, exec);
  LanguageModel& model = *loaded.model;
  const TokenFile tokens = read_token_file(options.tokens, model.vocab_size());
  MG_CHECK(model.max_positions() == 0 || tokens.seq <= model.max_positions(),
           "{}: sequences of {} tokens; the model has {} positions", options.tokens, tokens.seq,
           model.max_positions());

  Tape tape(exec, {.is_recording = false, .recompute = {}});
  const ForwardContext context{.batch = tokens.batch,
                               .positions = sequence_positions(tokens.batch, tokens.seq, exec)};
  const Tensor ids = exec.from_host(std::span<const int32_t>(tokens.ids), {tokens.batch * tokens.seq});
  const Tensor logits = model.logits(tape, context, ids).slice(1, 0, model.vocab_size());  // without padding
  write_npy<float>(options.out, to_vector<float>(logits), {tokens.batch, tokens.seq, model.vocab_size()});
  std::printf("%s\n", options.out.c_str());
}

}  // namespace

Command logits_command() {
  return {.name = "logits",
          .summary = "Write a model's logits for given tokens, to hold them against another implementation.",
          .examples = {"megalith logits --model hf/Llama-3.2-1B --tokens ids.txt --out logits.npy",
                       "megalith logits --model demo/run --tokens batch.npy --out logits.npy"},
          .run = run_logits};
}

}  // namespace megalith
