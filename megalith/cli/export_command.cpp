#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/checkpoint/load_model.h"
#include "megalith/cli/commands.h"
#include "megalith/models/gpt/hf_weights.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {
namespace {

struct ExportOptions {
  std::string model;
  std::string out;
  std::string tokenizer_model;
};

void declare_fields(ExportOptions& c, FieldList& f) {
  f.add("model", c.model,
        {.help = "run, checkpoint or Hugging Face directory",
         .value_name = "DIR",
         .main = true,
         .required = true});
  f.add("out", c.out,
        {.help = "directory to make: config.json, model.safetensors, tokenizer.json",
         .value_name = "DIR",
         .main = true,
         .required = true});
  f.add("tokenizer_model", c.tokenizer_model,
        {.help = "tokenizer.json to put beside the weights; by default the model's own",
         .value_name = "FILE",
         .main = true});
}

void run_export(CommandLine& line) {
  ExportOptions options;
  line.add("export", "Export", options);
  if (!line.parse()) return;
  Exec exec;
  const LoadedModel loaded = load_model(options.model, exec);
  auto* model = dynamic_cast<GptModel*>(loaded.model.get());
  MG_CHECK(model != nullptr, "{}: Hugging Face has no model of this kind", options.model);
  HfExport target{.tokenizer = loaded.tokenizer, .tokens = {}};
  if (!options.tokenizer_model.empty()) target.tokenizer = options.tokenizer_model;
  if (!target.tokenizer.empty()) {
    const int32_t eod = load_tokenizer(target.tokenizer)->eod();
    if (eod >= 0) target.tokens.eos = eod;
  }
  write_hf_directory(options.out, *model, target, exec);
  std::printf("%s\n", options.out.c_str());
}

}  // namespace

Command export_command() {
  return {
      .name = "export",
      .summary = "Write a model as a Hugging Face directory, bit for bit the same weights.",
      .examples = {"megalith export --model demo/run --out demo/hf",
                   "megalith export --model demo/run/iter_0000100 --out hf --tokenizer-model tokenizer.json"},
      .run = run_export};
}

}  // namespace megalith
