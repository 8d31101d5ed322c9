#include "megalith/data/preprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/data/indexed_dataset.h"
#include "megalith/data/inspect.h"
#include "megalith/data/ordered_pipeline.h"

#include "tests/data/scratch_directory.h"
#include "tests/data/toy_tokenizer.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<std::string> documents_of(const std::string& prefix) {
  const IndexedDataset data(prefix);
  std::vector<std::string> texts;
  for (int64_t i = 0; i < data.num_documents(); ++i)
    texts.push_back(decode_document(data, i, 1 << 30, ToyTokenizer()));
  return texts;
}

TEST(Preprocess, TakesDirectoriesInOrderAndBytesAsTheyAre) {
  const ScratchDirectory directory;
  make_directories(directory / "src/sub");
  write_bytes(directory / "src/b.h", "bee");
  write_bytes(directory / "src/a.cpp", std::string("\xff\0x", 3));
  write_bytes(directory / "src/sub/c.h", "sea");
  write_bytes(directory / "src/empty.h", "");
  write_bytes(directory / "src/notes.txt", "no");
  const PreprocessResult result = preprocess({.input = {directory / "src"},
                                              .extensions = {".h", ".cpp"},
                                              .output_prefix = directory / "out/x",
                                              .append_eod = true},
                                             ToyTokenizer());
  EXPECT_THAT(result.prefixes, ElementsAre(directory / "out/x_text_document"));
  EXPECT_EQ(result.documents, 4);
  EXPECT_EQ(result.tokens, 12);
  EXPECT_EQ(result.bytes, 9);
  EXPECT_THAT(documents_of(result.prefixes[0]), ElementsAre(std::string("\xff\0x|", 4), "bee|", "", "sea|"));
  EXPECT_EQ(IndexedDataset(result.prefixes[0]).token_type(), TokenType::kU16);
  EXPECT_EQ(IndexedDataset(result.prefixes[0]).num_sequences(), 3);  // the empty document has none
}

TEST(Preprocess, WritesOneDataSetAKey) {
  const ScratchDirectory directory;
  write_bytes(directory / "a.jsonl",
              "{\"text\": \"one\", \"title\": [\"T\", \"\", \"U\"]}\n\n{\"title\": \"V\", \"text\": "
              "\"\\u00e9\", \"n\": 1}");
  const PreprocessResult result = preprocess(
      {.input = {directory / "a.jsonl"}, .json_keys = {"text", "title"}, .output_prefix = directory / "o"},
      ToyTokenizer(65500));
  EXPECT_THAT(documents_of(directory / "o_text_document"), ElementsAre("one", "\xc3\xa9"));
  EXPECT_THAT(documents_of(directory / "o_title_document"), ElementsAre("TU", "V"));
  EXPECT_THAT(IndexedDataset(directory / "o_title_document").lengths(), ElementsAre(1, 1, 1));
  EXPECT_EQ(IndexedDataset(directory / "o_text_document").token_type(), TokenType::kI32);
}

TEST(Preprocess, IsTheSameForAnyNumberOfThreads) {
  const ScratchDirectory directory;
  std::string lines;
  for (int i = 0; i < 20000; ++i) {
    lines +=
        fmt::format("{{\"text\": \"{}\"}}\n", std::string(static_cast<size_t>(i * 37 % 120), 'a' + i % 26));
  }
  write_bytes(directory / "a.jsonl", lines);
  const auto run = [&](int64_t workers) {
    const std::string prefix = directory / fmt::format("w{}", workers);
    preprocess(
        {.input = {directory / "a.jsonl"}, .output_prefix = prefix, .append_eod = true, .workers = workers},
        ToyTokenizer());
    return read_text_file(prefix + "_text_document.bin") + read_text_file(prefix + "_text_document.idx");
  };
  const std::string one = run(1);
  EXPECT_EQ(one, run(2));
  EXPECT_EQ(one, run(7));
}

TEST(Preprocess, NamesTheBadLineOrSkipsIt) {
  const ScratchDirectory directory;
  const auto rejects = [&](const std::string& text, const char* message) {
    write_bytes(directory / "bad.jsonl", text);
    EXPECT_THAT(
        [&] {
          preprocess({.input = {directory / "bad.jsonl"}, .output_prefix = directory / "o"}, ToyTokenizer());
        },
        ThrowsMessage<Error>(AllOf(HasSubstr("bad.jsonl:2: "), HasSubstr(message))));
  };
  rejects("{\"text\": \"a\"}\n{\"text\": \n{\"text\": \"b\"}", "malformed JSON");
  rejects("{\"text\": \"a\"}\n[1]\n", "not a JSON object");
  rejects("{\"text\": \"a\"}\n{\"txt\": \"a\"}\n{", "no key \"text\"");
  rejects("{\"text\": \"a\"}\n{\"text\": 3}\n", "not a string");
  rejects("{\"text\": \"a\"}\n{\"text\": \"a\", \"score\": 1e999}\n", "number overflow");
  // The line of the file and the column in it; no number of the parser's own.
  rejects("{\"text\": \"a\"}\n{\"text\": \"\xff\"}\n",
          "malformed JSON: column 11: invalid string: ill-formed UTF-8");
  EXPECT_FALSE(std::filesystem::exists(directory / "o_text_document.bin"));
  EXPECT_FALSE(std::filesystem::exists(directory / "o_text_document.idx"));

  write_bytes(directory / "bad.jsonl", "{\"text\": \"a\"}\nx\n{\"text\": \"b\"}\n{}\n");
  const PreprocessResult result =
      preprocess({.input = {directory / "bad.jsonl"}, .output_prefix = directory / "o", .skip_bad = true},
                 ToyTokenizer());
  EXPECT_EQ(result.bad, 2);
  EXPECT_THAT(documents_of(directory / "o_text_document"), ElementsAre("a", "b"));
}

TEST(Preprocess, OtherMistakesHaveTheirMessages) {
  const ScratchDirectory directory;
  write_bytes(directory / "a.txt", "a");
  write_bytes(directory / "empty.txt", "");
  const auto rejects = [&](PreprocessOptions options, const ToyTokenizer& tokenizer, const char* message) {
    options.output_prefix = directory / "o";
    EXPECT_THAT([&] { preprocess(options, tokenizer); }, ThrowsMessage<Error>(HasSubstr(message)));
  };
  rejects({.input = {directory / "none"}}, ToyTokenizer(), "none: there is no such file");
  rejects({.input = {directory / "a.txt"}, .json_keys = {"k", "k"}}, ToyTokenizer(), "\"k\" is given twice");
  rejects({.input = {}}, ToyTokenizer(), "no input");
  rejects({.input = {directory.path().string()}, .extensions = {".rs"}}, ToyTokenizer(),
          "no file with extension .rs");
  rejects({.input = {directory / "empty.txt"}}, ToyTokenizer(), "no text");
  write_bytes(directory / "a.jsonl.gz", std::string("\x1f\x8b\x08\0\0\0\0\0", 8));
  rejects({.input = {directory / "a.jsonl.gz"}}, ToyTokenizer(), "a.jsonl.gz: the file is compressed (gzip)");
  rejects({.input = {directory / "a.txt"}, .append_eod = true}, ToyTokenizer(257, -1),
          "no end-of-document token");
}

TEST(Preprocess, StopsWithoutLeavingAnything) {
  const ScratchDirectory directory;
  write_bytes(directory / "a.txt", "a");
  const PreprocessResult result =
      preprocess({.input = {directory / "a.txt"}, .output_prefix = directory / "out/o"}, ToyTokenizer(),
                 [] { return true; });
  EXPECT_TRUE(result.stopped);
  EXPECT_TRUE(std::filesystem::is_empty(directory / "out"));
}

TEST(OrderedPipeline, KeepsTheOrderAndTheFirstError) {
  for (const int threads : {1, 3}) {
    int next = 0;
    std::vector<int> seen;
    const auto run = [&] {
      ordered_pipeline(
          threads, [&]() -> std::optional<int> { return next < 1000 ? std::optional(next++) : std::nullopt; },
          [](int item, int) {
            if (item >= 500 && item % 7 == 0) throw Error(fmt::format("item {}", item));
            return 2 * item;
          },
          [&](int result) {
            seen.push_back(result);
            return true;
          });
    };
    EXPECT_THAT(run, ThrowsMessage<Error>("item 504"));
    ASSERT_EQ(seen.size(), 504u);
    for (int i = 0; i < 504; ++i) ASSERT_EQ(seen[static_cast<size_t>(i)], 2 * i);
  }
}

TEST(Inspect, CountsAndDecodes) {
  const ScratchDirectory directory;
  write_bytes(directory / "a.jsonl",
              "{\"text\": \"a\"}\n{\"text\": \"bcd\"}\n{\"text\": \"\"}\n{\"text\": [\"ef\", \"ghi\"]}\n");
  preprocess({.input = {directory / "a.jsonl"}, .output_prefix = directory / "o"}, ToyTokenizer());
  const IndexedDataset data(directory / "o_text_document");
  const DatasetSummary summary = summarize_dataset(data);
  EXPECT_EQ(summary.documents, 4);
  EXPECT_EQ(summary.sequences, 4);
  EXPECT_EQ(summary.tokens, 9);
  EXPECT_EQ(summary.bytes, 18 + 34 + 4 * 12 + 5 * 8);
  EXPECT_EQ(summary.lengths.shortest, 0);
  EXPECT_EQ(summary.lengths.longest, 5);
  EXPECT_DOUBLE_EQ(summary.lengths.mean, 2.25);
  EXPECT_THAT(summary.lengths.percentiles, ElementsAre(0, 1, 5, 5, 5));
  EXPECT_THAT(summary.lengths.histogram, ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(to_text(summary), AllOf(HasSubstr("documents   4"), HasSubstr("p50 1")));
  EXPECT_EQ(decode_document(data, 3, 4, ToyTokenizer()), "efgh");
  EXPECT_THAT([&] { decode_document(data, 4, 4, ToyTokenizer()); },
              ThrowsMessage<Error>(HasSubstr("no document 4")));
  EXPECT_THAT([&] { decode_document(data, 3, 4, ToyTokenizer(100)); },
              ThrowsMessage<Error>(AllOf(HasSubstr("document 3"), HasSubstr("0 to 99"))));
}

}  // namespace
}  // namespace megalith
