#include "megalith/cli/token_file.h"

#include <charconv>
#include <string_view>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"
#include "megalith/io/npy.h"

namespace megalith {
namespace {

template <class T>
void append_ids(const NpyArray& array, int64_t vocab_size, std::vector<int32_t>& ids) {
  for (const T value : array.values<T>()) {
    MG_CHECK(std::in_range<int64_t>(value) && static_cast<int64_t>(value) >= 0 &&
                 static_cast<int64_t>(value) < vocab_size,
             "{}: entry {}: {} is not a token id; allowed: 0 to {}", array.path().string(), ids.size(), value,
             vocab_size - 1);
    ids.push_back(static_cast<int32_t>(value));
  }
}

TokenFile read_array(const std::filesystem::path& path, int64_t vocab_size) {
  const NpyArray array = read_npy(path);
  const std::vector<int64_t>& shape = array.shape();
  MG_CHECK(shape.size() == 1 || shape.size() == 2,
           "{}: the array has {} dimensions; it must be [S] or [B, S]", path.string(), shape.size());
  TokenFile file{.batch = shape.size() == 2 ? shape[0] : 1, .seq = shape.back(), .ids = {}};
  switch (array.type()) {
    case NpyType::kUint8:
      append_ids<uint8_t>(array, vocab_size, file.ids);
      break;
    case NpyType::kUint16:
      append_ids<uint16_t>(array, vocab_size, file.ids);
      break;
    case NpyType::kInt32:
      append_ids<int32_t>(array, vocab_size, file.ids);
      break;
    case NpyType::kUint32:
      append_ids<uint32_t>(array, vocab_size, file.ids);
      break;
    case NpyType::kInt64:
      append_ids<int64_t>(array, vocab_size, file.ids);
      break;
    default:
      fail("{}: the array holds {}; allowed: uint8, uint16, int32, uint32, int64", path.string(),
           npy_type_name(array.type()));
  }
  return file;
}

TokenFile read_text(const std::filesystem::path& path, int64_t vocab_size) {
  TokenFile file;
  int64_t line_number = 0;
  for (const std::string& line : split(read_text_file(path), '\n')) {
    ++line_number;
    std::string_view rest = line;
    int64_t count = 0;
    while (true) {
      const size_t begin = rest.find_first_not_of(" \t\r,");
      if (begin == std::string_view::npos) break;
      rest.remove_prefix(begin);
      const std::string_view word = rest.substr(0, rest.find_first_of(" \t\r,"));
      int32_t id = -1;
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
      MG_CHECK(error == std::errc() && end == word.data() + word.size() && id >= 0 && id < vocab_size,
               "{}:{}: '{}' is not a token id; allowed: 0 to {}", path.string(), line_number,
               word.substr(0, 40), vocab_size - 1);
      file.ids.push_back(id);
      rest.remove_prefix(word.size());
      ++count;
    }
    if (count == 0) continue;
    MG_CHECK(file.batch == 0 || count == file.seq, "{}:{}: {} tokens; the sequences before have {}",
             path.string(), line_number, count, file.seq);
    file.seq = count;
    ++file.batch;
  }
  return file;
}

}  // namespace

TokenFile read_token_file(const std::filesystem::path& path, int64_t vocab_size) {
  TokenFile file = path.extension() == ".npy" ? read_array(path, vocab_size) : read_text(path, vocab_size);
  MG_CHECK(!file.ids.empty(), "{}: holds no tokens", path.string());
  return file;
}

}  // namespace megalith
