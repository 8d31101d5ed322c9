#include "megalith/data/preprocess.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <span>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/log.h"
#include "megalith/base/parallel.h"
#include "megalith/base/progress.h"
#include "megalith/base/text.h"
#include "megalith/config/field.h"
#include "megalith/data/document_encoder.h"
#include "megalith/data/indexed_dataset_builder.h"
#include "megalith/data/ordered_pipeline.h"
#include "megalith/data/text_inputs.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {
namespace {

constexpr int64_t kBadShown = 10;

void append(const EncodedDocuments& documents, IndexedDatasetBuilder& builder) {
  std::span<const int32_t> rest(documents.tokens);
  size_t sequence = 0;
  for (const int32_t sequences : documents.sequences_of_document) {
    for (int32_t i = 0; i < sequences; ++i) {
      const auto length = static_cast<size_t>(documents.sequence_lengths[sequence++]);
      builder.add_sequence(rest.first(length));
      rest = rest.subspan(length);
    }
    builder.end_document();
  }
}

}  // namespace

void declare_fields(PreprocessOptions& options, FieldList& fields) {
  fields.add("input", options.input,
             {.help = "text files, *.jsonl files, directories",
              .value_name = "PATH",
              .main = true,
              .positional = true,
              .required = true});
  fields.add("output_prefix", options.output_prefix,
             {.help = "writes PREFIX_KEY_document.bin and .idx",
              .value_name = "PREFIX",
              .main = true,
              .required = true});
  fields.add(
      "extensions", options.extensions,
      {.help = "take only files with these endings from directories", .value_name = ".EXT", .main = true});
  fields.add(
      "json_keys", options.json_keys,
      {.help = "keys of JSON lines that hold text, one output each", .value_name = "KEY", .main = true});
  fields.add("json_lines", options.json_lines, {.help = "every file is JSON lines, whatever its name"});
  fields.add("append_eod", options.append_eod,
             {.help = "end each document with the end-of-document token", .main = true});
  fields.add(
      "skip_bad", options.skip_bad,
      {.help = "skip and count malformed lines and unreadable files instead of stopping", .main = true});
  fields.add("workers", options.workers,
             {.help = "threads; 0: as many as the process may use", .min = 0, .max = 1024, .main = true});
}

PreprocessResult preprocess(const PreprocessOptions& options, const Tokenizer& tokenizer,
                            const std::function<bool()>& should_stop) {
  for (size_t k = 0; k < options.json_keys.size(); ++k) {
    const auto here = options.json_keys.begin() + static_cast<std::ptrdiff_t>(k);
    if (std::find(options.json_keys.begin(), here, *here) != here) {
      throw UsageError(fmt::format("json_keys: \"{}\" is given twice", *here));
    }
  }
  if (options.output_prefix.empty()) throw UsageError("output_prefix is empty: it names the files to write");
  const int threads = options.workers > 0 ? static_cast<int>(options.workers) : hardware_threads();
  const DocumentEncoder::Options encoding{.json_keys = options.json_keys,
                                          .append_eod = options.append_eod,
                                          .on_bad_input = options.skip_bad
                                                              ? DocumentEncoder::OnBadInput::kSkip
                                                              : DocumentEncoder::OnBadInput::kThrow};
  std::vector<DocumentEncoder> encoders;
  for (int t = 0; t < threads; ++t) encoders.emplace_back(tokenizer, encoding);
  TextInputs inputs({options.input, options.extensions, options.json_lines});
  const auto parent = std::filesystem::path(options.output_prefix).parent_path();
  if (!parent.empty()) make_directories(parent);

  PreprocessResult result;
  std::vector<std::unique_ptr<IndexedDatasetBuilder>> builders;
  for (const std::string& key : options.json_keys) {
    result.prefixes.push_back(fmt::format("{}_{}_document", options.output_prefix, key));
    builders.push_back(std::make_unique<IndexedDatasetBuilder>(result.prefixes.back(),
                                                               token_type_for_vocab(tokenizer.vocab_size())));
  }

  Progress progress({.title = "preprocess", .total = inputs.total_bytes(), .unit = "B"});
  ordered_pipeline(
      threads, [&] { return inputs.next(); },
      [&](const TextUnit& unit, int thread) { return encoders[static_cast<size_t>(thread)].encode(unit); },
      [&](const EncodedUnit& unit) {
        result.tokens = 0;
        for (size_t k = 0; k < builders.size(); ++k) {
          append(unit.of_key[k], *builders[k]);
          result.tokens += builders[k]->num_tokens();
        }
        for (const std::string& message : unit.bad) {
          if (++result.bad <= kBadShown) log_warn("skipped: {}", message);
        }
        result.bytes += unit.bytes;
        const double seconds = progress.elapsed_s();
        progress.update(
            result.bytes,
            fmt::format("{} tokens, {}/s", human_count(static_cast<double>(result.tokens)),
                        human_count(seconds > 0 ? static_cast<double>(result.tokens) / seconds : 0)));
        result.stopped = should_stop && should_stop();
        return !result.stopped;
      });
  progress.finish();
  result.seconds = progress.elapsed_s();
  result.documents = builders.front()->num_documents();
  if (result.bad > kBadShown) log_warn("skipped {} more", result.bad - kBadShown);
  if (result.stopped) return result;
  MG_CHECK(result.tokens > 0, "{}: the input holds no text: nothing was written", join(options.input, ", "));
  for (const auto& builder : builders) builder->finish();
  return result;
}

}  // namespace megalith
