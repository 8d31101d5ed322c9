#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/cli/commands.h"
#include "megalith/data/inspect.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {
namespace {

struct InspectOptions {
  std::string data_path;
  std::string tokenizer_model;
  int64_t document = 0;
  int64_t max_tokens = 256;
  std::string dump_index;
  std::string which = "train";
  std::optional<int64_t> num_samples;
  std::string split = "969,30,1";
  int64_t seq_length = 1024;
  int64_t seed = 1234;
};

void declare_fields(InspectOptions& c, FieldList& f) {
  f.add("data_path", c.data_path,
        {.help = "prefix of a .bin/.idx pair", .value_name = "PREFIX", .positional = true, .required = true});
  f.add("tokenizer_model", c.tokenizer_model,
        {.help = "tokenizer.json: shows a document as text", .value_name = "PATH", .main = true});
  f.add("document", c.document, {.help = "which document to show", .min = 0, .main = true});
  f.add("max_tokens", c.max_tokens, {.help = "tokens of it to show", .min = 1, .main = true});
  f.add("dump_index", c.dump_index,
        {.help = "write the document, sample and shuffle indices as .npy, equal to Megatron's",
         .value_name = "DIR",
         .main = true});
  f.add("which", c.which, {.help = "whose indices", .allowed = {"train", "valid", "test"}, .main = true});
  f.add("num_samples", c.num_samples,
        {.help = "samples wanted; one epoch when left out", .min = 1, .main = true});
  f.add("split", c.split, {.help = "shares of training, validation and test", .main = true});
  f.add("seq_length", c.seq_length, {.help = "tokens of a sample", .min = 1, .main = true});
  f.add("seed", c.seed, {.help = "of the order of samples", .min = 0, .max = 4294967295.0, .main = true});
}

void run_data_inspect(CommandLine& line) {
  InspectOptions options;
  line.add("inspect", "Inspect", options);
  if (!line.parse()) return;
  const IndexedDataset data(options.data_path);
  std::fputs(to_text(summarize_dataset(data)).c_str(), stdout);
  if (!options.tokenizer_model.empty()) {
    const auto tokenizer = load_tokenizer(options.tokenizer_model);
    const std::string text = decode_document(data, options.document, options.max_tokens, *tokenizer);
    std::printf("\ndocument %lld:\n", static_cast<long long>(options.document));
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
  }
  if (options.dump_index.empty()) return;
  const int64_t samples = dump_index({.data_path = options.data_path,
                                      .directory = options.dump_index,
                                      .split = options.split,
                                      .which = options.which,
                                      .num_samples = options.num_samples,
                                      .seq_length = options.seq_length,
                                      .seed = options.seed});
  std::printf("\n%s: document_index.npy, sample_index.npy, shuffle_index.npy of %lld samples (%s)\n",
              options.dump_index.c_str(), static_cast<long long>(samples), options.which.c_str());
}

}  // namespace

Command data_inspect_command() {
  return {.name = "data inspect",
          .summary =
              "Show what a .bin/.idx pair holds: counts, lengths, a document as text, the order of samples.",
          .examples = {"megalith data inspect data/code_text_document --tokenizer-model tokenizer.json",
                       "megalith data inspect data/code_text_document --dump-index order/ --seq-length 512"},
          .run = run_data_inspect};
}

}  // namespace megalith
