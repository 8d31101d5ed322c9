#include "megalith/data/indexed_dataset.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/data/indexed_dataset_builder.h"

#include "tests/data/scratch_directory.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::vector<int32_t> tokens_of(const IndexedDataset& data, int64_t sequence) {
  std::vector<int32_t> tokens(static_cast<size_t>(data.length(sequence)));
  data.read(sequence, 0, tokens);
  return tokens;
}

/// Documents {[1,2,3], [4]} and {[500,6]}: three sequences, six tokens.
void write_small(const std::string& prefix, TokenType type) {
  IndexedDatasetBuilder builder(prefix, type);
  builder.add_sequence(std::vector<int32_t>{1, 2, 3});
  builder.add_sequence(std::vector<int32_t>{4});
  builder.end_document();
  builder.add_document(std::vector<int32_t>{type == TokenType::kU8 || type == TokenType::kI8 ? 50 : 500, 6});
  builder.finish();
}

TEST(IndexedDataset, WritesTheBytesOfTheFormat) {
  const ScratchDirectory directory;
  write_small(directory / "a", TokenType::kU16);
  EXPECT_EQ(read_text_file(directory / "a.bin"), std::string("\1\0\2\0\3\0\4\0\xF4\1\6\0", 12));
  const std::string expected(
      "MMIDIDX\0\0"
      "\1\0\0\0\0\0\0\0"
      "\10"
      "\3\0\0\0\0\0\0\0"
      "\3\0\0\0\0\0\0\0"
      "\3\0\0\0"
      "\1\0\0\0"
      "\2\0\0\0"
      "\0\0\0\0\0\0\0\0"
      "\6\0\0\0\0\0\0\0"
      "\10\0\0\0\0\0\0\0"
      "\0\0\0\0\0\0\0\0"
      "\2\0\0\0\0\0\0\0"
      "\3\0\0\0\0\0\0\0",
      34 + 3 * 12 + 3 * 8);
  EXPECT_EQ(read_text_file(directory / "a.idx"), expected);
}

TEST(IndexedDataset, ReadsEveryTokenType) {
  const ScratchDirectory directory;
  for (const TokenType type :
       {TokenType::kU8, TokenType::kI8, TokenType::kI16, TokenType::kI32, TokenType::kI64, TokenType::kU16}) {
    write_small(directory / "a", type);
    const IndexedDataset data(directory / "a.idx");
    EXPECT_EQ(data.token_type(), type);
    EXPECT_EQ(data.num_sequences(), 3);
    EXPECT_EQ(data.num_documents(), 2);
    EXPECT_EQ(data.num_tokens(), 6);
    EXPECT_THAT(tokens_of(data, 0), ElementsAre(1, 2, 3));
    EXPECT_THAT(tokens_of(data, 2),
                ElementsAre(type == TokenType::kU8 || type == TokenType::kI8 ? 50 : 500, 6));
    std::vector<int32_t> part(1);
    data.read(0, 2, part);
    EXPECT_THAT(part, ElementsAre(3));
    EXPECT_THAT(data.lengths(), ElementsAre(3, 1, 2));
    EXPECT_EQ(data.document_of(1), 0);
    EXPECT_EQ(data.document_of(2), 1);
    EXPECT_THAT([&] { data.read(0, 3, part); }, ThrowsMessage<Error>(HasSubstr("sequence 0 has 3 tokens")));
    EXPECT_THAT([&] { data.read(3, 0, part); }, ThrowsMessage<Error>(HasSubstr("no sequence 3")));
  }
}

TEST(IndexedDataset, ChoosesTheTypeByVocabulary) {
  EXPECT_EQ(token_type_for_vocab(65499), TokenType::kU16);
  EXPECT_EQ(token_type_for_vocab(65500), TokenType::kI32);
}

TEST(IndexedDataset, MergesInOrder) {
  const ScratchDirectory directory;
  write_small(directory / "a", TokenType::kU16);
  IndexedDatasetBuilder one(directory / "b", TokenType::kU16);
  one.add_document(std::vector<int32_t>{9, 9});
  one.end_document();  // a document without a sequence
  one.finish();
  const std::vector<std::string> inputs{directory / "b", directory / "a"};
  merge_indexed_datasets(inputs, directory / "m");
  const IndexedDataset merged(directory / "m");
  EXPECT_THAT(merged.lengths(), ElementsAre(2, 3, 1, 2));
  EXPECT_EQ(merged.num_documents(), 4);
  EXPECT_EQ(merged.document_begin(2), 1);
  EXPECT_EQ(merged.document_begin(3), 3);
  EXPECT_EQ(merged.document_of(0), 0);
  EXPECT_EQ(merged.document_of(1), 2);
  EXPECT_THAT(tokens_of(merged, 3), ElementsAre(500, 6));

  write_small(directory / "c", TokenType::kI32);
  const std::vector<std::string> mixed{directory / "a", directory / "c"};
  EXPECT_THAT([&] { merge_indexed_datasets(mixed, directory / "n"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("holds int32"), HasSubstr("holds uint16"))));
  EXPECT_FALSE(std::filesystem::exists(directory / "n.bin"));
}

TEST(IndexedDataset, PublishesBothFilesOrNone) {
  const ScratchDirectory directory;
  {
    IndexedDatasetBuilder builder(directory / "a", TokenType::kU16);
    builder.add_document(std::vector<int32_t>{1});
    EXPECT_THAT(
        [&] {
          builder.add_document(std::vector<int32_t>{1, 65536});
        },
        ThrowsMessage<Error>(AllOf(HasSubstr("65536"), HasSubstr("document 1"))));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  EXPECT_THAT([&] { IndexedDatasetBuilder builder(directory / "no/such/a", TokenType::kU16); },
              ThrowsMessage<Error>(HasSubstr("no/such/a.bin")));
}

class BrokenIndex : public testing::Test {
 protected:
  void SetUp() override {
    write_small(prefix_, TokenType::kU16);
    index_ = read_text_file(prefix_ + ".idx");
  }
  void rejects(const std::string& index, const char* message) {
    write_bytes(prefix_ + ".idx", index);
    EXPECT_THAT([&] { IndexedDataset data(prefix_); },
                ThrowsMessage<Error>(AllOf(HasSubstr("a.idx"), HasSubstr(message))));
  }
  std::string changed(size_t offset, char value) const {
    std::string copy = index_;
    copy[offset] = value;
    return copy;
  }

  ScratchDirectory directory_;
  std::string prefix_ = directory_ / "a";
  std::string index_;
};

TEST_F(BrokenIndex, EachRuleHasItsMessage) {
  rejects("", "empty");
  rejects("MMID", "the header needs 34 bytes, the file has 4");
  rejects(changed(2, 'X'), "does not begin with MMIDIDX");
  rejects(changed(9, 2), "version 2");
  rejects(changed(17, 0), "token type code 0");
  rejects(changed(17, 6), "token type code 6");
  rejects(changed(17, 9), "token type code 9");
  rejects(changed(25, 0x7f), "too short");
  rejects(changed(18, 4), "4 sequences");
  rejects(index_.substr(0, index_.size() - 1), "the file has 93");
  rejects(index_ + "x", "the file has 95");
  rejects(changed(34 + 3, '\x80'), "length of sequence 0 is negative");
  rejects(changed(34, 2), "sequence 1 points to byte 6, the lengths before it add up to byte 4");
  rejects(changed(34 + 12 + 8, 7), "sequence 1 points to byte 7");
  rejects(changed(34 + 36, 1), "first document starts at sequence 1");
  rejects(changed(34 + 36 + 8, 9), "document 2 starts at sequence 3, before document 1 at 9");
  rejects(changed(34 + 36 + 16, 2), "ends at sequence 2, the file has 3");
  rejects(index_ + std::string("\0\1\0", 3), "sequence 1 is not text");
  write_bytes(prefix_ + ".idx", index_ + std::string(3, '\0'));
  EXPECT_EQ(IndexedDataset(prefix_).num_sequences(), 3);
}

TEST_F(BrokenIndex, TokensOfAnotherSizeAndMissingFiles) {
  write_bytes(prefix_ + ".bin", "short");
  EXPECT_THAT(
      [&] { IndexedDataset data(prefix_); },
      ThrowsMessage<Error>(AllOf(HasSubstr("a.bin: the file has 5 bytes"), HasSubstr("asks for 12"))));
  std::filesystem::remove(prefix_ + ".bin");
  EXPECT_THAT([&] { IndexedDataset data(prefix_); },
              ThrowsMessage<Error>(AllOf(HasSubstr("a.bin"), HasSubstr("No such file"))));
  std::filesystem::remove(prefix_ + ".idx");
  EXPECT_THAT([&] { IndexedDataset data(prefix_); },
              ThrowsMessage<Error>(AllOf(HasSubstr("a.idx"), HasSubstr("No such file"))));
}

TEST_F(BrokenIndex, RandomDamageIsFoundOrHarmless) {
  std::mt19937 random(11);
  int accepted = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bad = index_;
    const int edits = 1 + static_cast<int>(random() % 3);
    for (int k = 0; k < edits; ++k)
      bad[random() % bad.size()] = static_cast<char>(random() % 2 ? random() : random() % 4);
    if (random() % 8 == 0) bad.resize(random() % (bad.size() + 8));
    write_bytes(prefix_ + ".idx", bad);
    try {
      const IndexedDataset data(prefix_);
      ++accepted;
      for (int64_t i = 0; i < data.num_sequences(); ++i) tokens_of(data, i);
    } catch (const Error&) {
    }
  }
  EXPECT_LT(accepted, 400);  // an edit may repeat the byte that was there, or move a document boundary
}

}  // namespace
}  // namespace megalith
