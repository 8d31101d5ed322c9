#include "megalith/tokenizer/bpe_trainer.h"

#include <map>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/tokenizer/bpe_tokenizer.h"

#include "tests/data/scratch_directory.h"
#include "tests/tokenizer/golden.h"

namespace megalith {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// Hands out the texts one after the other.
NextText texts(std::vector<std::string> list) {
  return [list = std::move(list), next = size_t{0}](std::string& text) mutable {
    if (next == list.size()) return false;
    text = list[next++];
    return true;
  };
}

/// Merges by counting everything again each time.
std::vector<std::string> learn_by_definition(const std::string& corpus, int64_t vocab_size,
                                             int64_t min_frequency, std::vector<std::string> tokens) {
  std::map<std::string, int64_t> counts;
  for (size_t begin = 0; begin < corpus.size();) {
    const size_t end = next_piece(SplitPattern::kGpt2, corpus, begin);
    ++counts[corpus.substr(begin, end - begin)];
    begin = end;
  }
  std::map<std::string, int32_t> ids;
  for (size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id], static_cast<int32_t>(id));
  std::vector<std::pair<std::vector<int32_t>, int64_t>> words;
  for (const auto& [piece, count] : counts) {
    std::vector<int32_t> word;
    for (const char byte : piece) word.push_back(ids.at(std::string(1, byte)));
    words.emplace_back(word, count);
  }
  while (static_cast<int64_t>(tokens.size()) < vocab_size) {
    std::map<std::pair<int32_t, int32_t>, int64_t> pairs;
    for (const auto& [word, count] : words)
      for (size_t i = 0; i + 1 < word.size(); ++i) pairs[{word[i], word[i + 1]}] += count;
    std::pair<int32_t, int32_t> best;
    int64_t best_count = min_frequency - 1;
    for (const auto& [pair, count] : pairs)
      if (count > best_count) {
        best = pair;
        best_count = count;
      }
    if (best_count < min_frequency) break;
    const std::string token = tokens[best.first] + tokens[best.second];
    const auto id = ids.emplace(token, static_cast<int32_t>(tokens.size())).first->second;
    if (id == static_cast<int32_t>(tokens.size())) tokens.push_back(token);
    for (auto& [word, count] : words) {
      std::vector<int32_t> merged;
      for (size_t i = 0; i < word.size(); ++i) {
        const bool is_match = i + 1 < word.size() && word[i] == best.first && word[i + 1] == best.second;
        merged.push_back(is_match ? id : word[i]);
        i += is_match;
      }
      word = merged;
    }
  }
  return tokens;
}

TEST(BpeTrainer, LearnsWhatHuggingFaceLearns) {
  const BpeModel expected = golden_model();
  const BpeTrainOptions options{.vocab_size = static_cast<int64_t>(expected.tokens.size())};
  const BpeModel model = learn_bpe(options, texts({read_text_file(golden_file("corpus.txt"))})).model;
  EXPECT_EQ(model.tokens, expected.tokens);
  EXPECT_EQ(BpeTokenizer(model).identity(), BpeTokenizer(expected).identity());
}

TEST(BpeTrainer, FollowsTheDefinition) {
  std::mt19937 random(8);
  for (int round = 0; round < 30; ++round) {
    // Two or three letters in long words: overlapping pairs, ties, and tokens that two merges spell.
    std::string corpus;
    for (int word = 0; word < 60; ++word) {
      corpus += ' ';
      for (uint32_t length = random() % 12; length > 0; --length)
        corpus += static_cast<char>('a' + random() % (2 + round % 2));
    }
    const BpeTrainOptions options{
        .vocab_size = 330, .special_tokens = {}, .min_frequency = 1 + round % 3, .num_threads = 1};
    const BpeModel model = learn_bpe(options, texts({corpus})).model;
    const std::vector<std::string> bytes(model.tokens.begin(), model.tokens.begin() + 256);
    ASSERT_EQ(model.tokens, learn_by_definition(corpus, options.vocab_size, options.min_frequency, bytes))
        << corpus;
  }
}

TEST(BpeTrainer, TheNumberOfThreadsChangesNothing) {
  const std::string corpus = read_text_file(golden_file("corpus.txt"));
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < corpus.size(); begin += 500) parts.push_back(corpus.substr(begin, 500));
  BpeTrainOptions options{.vocab_size = 570, .num_threads = 1};
  const std::string expected = tokenizer_json(learn_bpe(options, texts(parts)).model);
  for (const int num_threads : {2, 3, 8}) {
    options.num_threads = num_threads;
    EXPECT_EQ(tokenizer_json(learn_bpe(options, texts(parts)).model), expected) << num_threads;
  }
}

TEST(BpeTrainer, WritesATokenizerThatRoundTrips) {
  const ScratchDirectory scratch;
  const std::vector<std::filesystem::path> files = {golden_file("corpus.txt"), golden_file("tokenizer.json")};
  const auto result =
      train_bpe({.vocab_size = 800, .special_tokens = {"<eos>", "<pad>"}}, files, scratch / "tokenizer.json");
  EXPECT_FALSE(result.is_stopped);
  EXPECT_EQ(result.num_bytes, static_cast<int64_t>(std::filesystem::file_size(files[0]) +
                                                   std::filesystem::file_size(files[1])));
  EXPECT_GT(result.num_pieces, result.num_distinct_pieces);
  const auto tokenizer = load_tokenizer(scratch.path());
  EXPECT_EQ(tokenizer->vocab_size(), 800);
  EXPECT_EQ(tokenizer->eod(), 0);
  const std::string corpus = read_text_file(files[0]);
  const auto ids = tokenizer->encode(corpus);
  EXPECT_EQ(tokenizer->decode(ids), corpus);
  EXPECT_LT(3 * ids.size(), 2 * corpus.size());
}

TEST(BpeTrainer, LongFilesAreCutWhereNoPieceIs) {
  const ScratchDirectory scratch;
  std::string corpus;
  while (corpus.size() < (size_t{9} << 20)) corpus += "int value = 12;\n\n  return value;\nvoid f();\n";
  write_bytes(scratch / "long.txt", corpus);
  const std::filesystem::path file = scratch / "long.txt";
  const NextText next = files_as_text({&file, 1});
  std::string text;
  std::string joined;
  int num_texts = 0;
  while (next(text)) {
    joined += text;
    ++num_texts;
    if (joined.size() < corpus.size()) {
      EXPECT_EQ(text.substr(text.size() - 2), ";\n");
    }
  }
  EXPECT_GE(num_texts, 3);
  EXPECT_TRUE(joined == corpus);
}

TEST(BpeTrainer, ReadsNoMoreThanAskedFor) {
  BpeTrainOptions options{.vocab_size = 300, .min_frequency = 1, .max_bytes = 5, .num_threads = 2};
  const auto result = learn_bpe(options, texts({"ab", "ab", "abxyxyxyxy", "qq"}));
  EXPECT_EQ(result.num_bytes, 5);
  EXPECT_EQ(result.model.tokens.size(), 258u);  // "<|endoftext|>" and "ab"
  EXPECT_EQ(result.model.tokens.back(), "ab");
}

TEST(BpeTrainer, RareAndHugePiecesTeachNothing) {
  const BpeTrainOptions options{.vocab_size = 400, .special_tokens = {}, .min_frequency = 3};
  const auto result = learn_bpe(options, texts({"ab ab cd cd cd", std::string(5000, 'z')}));
  // " c" and "cd" occur three times each; the character of the space has the larger id.
  EXPECT_THAT(std::vector<std::string>(result.model.tokens.begin() + 256, result.model.tokens.end()),
              ElementsAre("cd", " cd"));
}

TEST(BpeTrainer, NoMergeSpellsASpecialToken) {
  const BpeTrainOptions options{.vocab_size = 300, .special_tokens = {"the"}, .min_frequency = 1};
  const BpeModel model = learn_bpe(options, texts({"the the the"})).model;
  EXPECT_EQ(std::count(model.tokens.begin(), model.tokens.end(), "the"), 1);
  const BpeTokenizer tokenizer(model);
  EXPECT_EQ(tokenizer.added_token_id("the"), 0);
  for (const int32_t id : tokenizer.encode("the")) EXPECT_NE(id, 0);
}

TEST(BpeTrainer, CanBeStopped) {
  const ScratchDirectory scratch;
  const std::filesystem::path file = golden_file("corpus.txt");
  for (const int allowed : {0, 3}) {  // while counting, while merging
    int asked = 0;
    BpeTrainOptions options{.vocab_size = 560, .num_threads = 1};
    options.should_stop = [&] { return asked++ >= allowed; };
    const auto result = train_bpe(options, {&file, 1}, scratch / "tokenizer.json");
    EXPECT_TRUE(result.is_stopped);
    EXPECT_TRUE(result.model.tokens.empty());
    EXPECT_FALSE(std::filesystem::exists(scratch / "tokenizer.json"));
  }
}

TEST(BpeTrainer, NamesWrongOptions) {
  const auto learn = [](const BpeTrainOptions& options) { learn_bpe(options, texts({"some text"})); };
  EXPECT_THAT([&] { learn({.vocab_size = 256}); },
              ThrowsMessage<UsageError>(HasSubstr("256 is outside [257")));
  EXPECT_THAT(
      [&] {
        learn({.special_tokens = {"<a>", "<a>"}});
      },
      ThrowsMessage<UsageError>(HasSubstr("'<a>' is given twice")));
  EXPECT_THAT([&] { learn({.special_tokens = {""}}); }, ThrowsMessage<UsageError>(HasSubstr("empty")));
  EXPECT_THAT([&] { learn({.special_tokens = {"x"}}); }, ThrowsMessage<UsageError>(HasSubstr("'x'")));
  EXPECT_THAT([&] { learn({.special_tokens = {"\xFF\xFF"}}); },
              ThrowsMessage<UsageError>(HasSubstr("UTF-8")));
  EXPECT_THAT([&] { learn({.min_frequency = 0}); }, ThrowsMessage<UsageError>(HasSubstr("min_frequency: 0")));
  EXPECT_THAT([&] { learn({.max_bytes = -1}); }, ThrowsMessage<UsageError>(HasSubstr("max_bytes: -1")));
}

TEST(BpeTrainer, NamesWhatIsWrongWithTheCorpus) {
  const ScratchDirectory scratch;
  EXPECT_THAT([] { learn_bpe({}, texts({})); }, ThrowsMessage<Error>(HasSubstr("corpus is empty")));
  EXPECT_THAT([] { learn_bpe({}, texts({"", ""})); }, ThrowsMessage<Error>(HasSubstr("corpus is empty")));
  const std::vector<std::filesystem::path> absent = {scratch / "absent.txt"};
  EXPECT_THAT([&] { train_bpe({}, absent, scratch / "t.json"); },
              ThrowsMessage<Error>(HasSubstr("absent.txt")));
  const std::vector<std::filesystem::path> directory = {scratch.path()};
  EXPECT_THAT([&] { train_bpe({}, directory, scratch / "t.json"); },
              ThrowsMessage<Error>(HasSubstr("is a directory")));
  const std::vector<std::filesystem::path> good = {golden_file("corpus.txt")};
  train_bpe({.vocab_size = 300}, good, scratch / "new/folder/t.json");
  EXPECT_TRUE(std::filesystem::exists(scratch / "new/folder/t.json"));
  // Told before the work: the corpus is not even looked at.
  EXPECT_THAT([&] { train_bpe({}, absent, scratch / "new/folder/t.json/x.json"); },
              ThrowsMessage<Error>(HasSubstr("t.json")));
  EXPECT_THAT([&] { train_bpe({}, absent, ""); }, ThrowsMessage<Error>(HasSubstr("output: ''")));
}

}  // namespace
}  // namespace megalith
