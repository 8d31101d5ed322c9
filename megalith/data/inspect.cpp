#include "megalith/data/inspect.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <numeric>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/math.h"
#include "megalith/base/text.h"
#include "megalith/data/gpt_dataset.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {
namespace {

LengthSummary summarize_lengths(std::vector<int64_t> lengths) {
  LengthSummary summary;
  if (lengths.empty()) return summary;
  std::sort(lengths.begin(), lengths.end());
  const auto count = static_cast<int64_t>(lengths.size());
  summary.shortest = lengths.front();
  summary.longest = lengths.back();
  summary.mean = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0})) /
                 static_cast<double>(count);
  for (size_t i = 0; i < summary.percentiles.size(); ++i) {
    const int64_t rank = ceil_div<int64_t>(LengthSummary::kPercents[i] * count, 100);
    summary.percentiles[i] = lengths[static_cast<size_t>(rank - 1)];
  }
  summary.histogram.resize(static_cast<size_t>(std::bit_width(static_cast<uint64_t>(summary.longest))) + 1);
  for (const int64_t length : lengths) {
    ++summary.histogram[static_cast<size_t>(std::bit_width(static_cast<uint64_t>(length)))];
  }
  return summary;
}

int64_t document_length(const IndexedDataset& data, int64_t document) {
  int64_t tokens = 0;
  for (int64_t i = data.document_begin(document); i < data.document_begin(document + 1); ++i)
    tokens += data.length(i);
  return tokens;
}

}  // namespace

DatasetSummary summarize_dataset(const IndexedDataset& data) {
  std::vector<int64_t> lengths(static_cast<size_t>(data.num_documents()));
  for (size_t i = 0; i < lengths.size(); ++i) lengths[i] = document_length(data, static_cast<int64_t>(i));
  return {.name = data.name(),
          .token_type = data.token_type(),
          .documents = data.num_documents(),
          .sequences = data.num_sequences(),
          .tokens = data.num_tokens(),
          .bytes = static_cast<int64_t>(std::filesystem::file_size(token_file_path(data.name())) +
                                        std::filesystem::file_size(index_file_path(data.name()))),
          .lengths = summarize_lengths(std::move(lengths))};
}

std::string to_text(const DatasetSummary& summary) {
  constexpr int64_t kBarWidth = 40;
  const LengthSummary& lengths = summary.lengths;
  std::string text = fmt::format(
      "{}\n  token type  {}\n  documents   {}\n  sequences   {}\n  tokens      {}\n  files       {}\n",
      summary.name, token_type_name(summary.token_type), summary.documents, summary.sequences, summary.tokens,
      human_bytes(static_cast<double>(summary.bytes)));
  text += fmt::format("tokens a document: mean {:.1f}, shortest {}, longest {}\n ", lengths.mean,
                      lengths.shortest, lengths.longest);
  for (size_t i = 0; i < lengths.percentiles.size(); ++i) {
    text += fmt::format(" p{} {}", LengthSummary::kPercents[i], lengths.percentiles[i]);
  }
  text += '\n';
  const int64_t tallest =
      lengths.histogram.empty() ? 1 : *std::max_element(lengths.histogram.begin(), lengths.histogram.end());
  for (size_t k = 0; k < lengths.histogram.size(); ++k) {
    if (lengths.histogram[k] == 0) continue;
    const int64_t begin = k == 0 ? 0 : int64_t{1} << (k - 1);
    const int64_t end = k == 0 ? 0 : (int64_t{1} << k) - 1;
    text += fmt::format(
        "  {:>9} - {:<9} {:>10} {}\n", begin, end, lengths.histogram[k],
        std::string(static_cast<size_t>(ceil_div(lengths.histogram[k] * kBarWidth, tallest)), '#'));
  }
  return text;
}

std::string decode_document(const IndexedDataset& data, int64_t document, int64_t max_tokens,
                            const Tokenizer& tokenizer) {
  MG_CHECK(document >= 0 && document < data.num_documents(), "{}: there is no document {} ({} documents)",
           data.name(), document, data.num_documents());
  std::vector<int32_t> tokens;
  for (int64_t i = data.document_begin(document); i < data.document_begin(document + 1); ++i) {
    const int64_t room = max_tokens - static_cast<int64_t>(tokens.size());
    std::vector<int32_t> part(
        static_cast<size_t>(std::clamp<int64_t>(data.length(i), 0, std::max<int64_t>(room, 0))));
    data.read(i, 0, part);
    tokens.insert(tokens.end(), part.begin(), part.end());
  }
  for (const int32_t token : tokens) {
    MG_CHECK(token >= 0 && token < tokenizer.vocab_size(),
             "{}: document {} holds the token id {}, the tokenizer has the ids 0 to {}: was it made with "
             "another one?",
             data.name(), document, token, tokenizer.vocab_size() - 1);
  }
  return tokenizer.decode(tokens);
}

int64_t dump_index(const DumpIndexOptions& options) {
  const SplitName split = parse_split_name(options.which);
  const auto share = parse_split(options.split)[static_cast<size_t>(split)];
  if (!share)
    throw UsageError(fmt::format("split \"{}\" leaves nothing for {}", options.split, options.which));
  const GptDataset dataset(
      std::make_shared<IndexedDataset>(options.data_path), split, *share, options.num_samples,
      {.seq_length = options.seq_length, .seed = narrow<uint32_t>(options.seed), .use_cache = false});
  make_directories(options.directory);
  const GptIndices& indices = dataset.indices();
  const auto write = [&](const char* name, const IndexArray& array) {
    write_npy(options.directory / name, array.type(), array.shape(), array.bytes());
  };
  write("document_index.npy", indices.document_index);
  write("sample_index.npy", indices.sample_index);
  write("shuffle_index.npy", indices.shuffle_index);
  return dataset.size();
}

}  // namespace megalith
