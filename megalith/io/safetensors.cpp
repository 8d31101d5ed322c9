#include "megalith/io/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <set>
#include <string_view>

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

using Json = nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own bound
constexpr const char* kMetadataKey = "__metadata__";

struct DTypeRow {
  DType dtype;
  const char* name;
};
constexpr std::array<DTypeRow, 9> kDTypes{{{DType::kF64, "F64"},
                                           {DType::kF32, "F32"},
                                           {DType::kBF16, "BF16"},
                                           {DType::kF16, "F16"},
                                           {DType::kI64, "I64"},
                                           {DType::kI32, "I32"},
                                           {DType::kU8, "U8"},
                                           {DType::kF8E4M3, "F8_E4M3"},
                                           {DType::kF8E5M2, "F8_E5M2"}}};

const char* format_name(DType dtype) {
  for (const DTypeRow& row : kDTypes) {
    if (row.dtype == dtype) return row.name;
  }
  fail("safetensors has no name for dtype {}", name_of(dtype));
}

/// A JSON object in which a key that comes twice is an error, at every depth.
Json parse_header(std::string_view text, const std::string& file) {
  std::vector<std::set<std::string>> keys;
  std::optional<std::string> repeated;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second) {
      repeated = parsed.get<std::string>();
    }
    return true;
  };
  Json header;
  try {
    header = Json::parse(text, watch);
  } catch (const Json::exception& error) {
    fail("{}: the safetensors header is not valid JSON: {}", file, error.what());
  }
  MG_CHECK(!repeated, "{}: '{}' comes twice in the safetensors header", file, *repeated);
  MG_CHECK(header.is_object(), "{}: the safetensors header is not a JSON object", file);
  return header;
}

/// The header without its length; `data_begin` is where the tensors start.
std::string_view header_text(const MmapFile& file, size_t& data_begin) {
  const std::string name = file.path().string();
  const std::string_view all(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  MG_CHECK(all.size() >= kLengthBytes, "{}: {} bytes are too few for a safetensors file", name, all.size());
  uint64_t length = 0;
  std::memcpy(&length, all.data(), kLengthBytes);
  MG_CHECK(length <= kMaxHeaderBytes, "{}: not a safetensors file: a header of {} bytes (at most {})", name,
           length, kMaxHeaderBytes);
  MG_CHECK(length <= all.size() - kLengthBytes,
           "{}: the safetensors header of {} bytes is cut off; the file has {}", name, length, all.size());
  const std::string_view header = all.substr(kLengthBytes, length);
  MG_CHECK(header.starts_with('{'), "{}: not a safetensors file: the header does not begin with {{", name);
  data_begin = kLengthBytes + length;
  return header;
}

class EntryReader {
 public:
  EntryReader(std::string file, const std::string& name, const Json& object)
      : file_(std::move(file)), name_(name), object_(object) {
    check(object.is_object(), "its entry is not a JSON object");
    for (const auto& item : object.items()) {
      check(item.key() == "dtype" || item.key() == "shape" || item.key() == "data_offsets",
            fmt::format("unknown key '{}'", item.key()));
    }
  }

  DType dtype() const {
    const Json& value = member("dtype");
    check(value.is_string(), "dtype is not a string");
    for (const DTypeRow& row : kDTypes) {
      if (value.get_ref<const std::string&>() == row.name) return row.dtype;
    }
    std::string allowed;
    for (const DTypeRow& row : kDTypes) allowed += fmt::format("{}{}", allowed.empty() ? "" : ", ", row.name);
    fail("{}: tensor '{}': dtype {} is not read; allowed: {}", file_, name_, value.get<std::string>(),
         allowed);
  }

  /// Also checks that the number of bytes can be counted.
  Shape shape(DType dtype) const {
    const std::vector<int64_t> dims = integers("shape");
    check(dims.size() <= Shape::kMaxRank,
          fmt::format("{} dimensions; at most {} are read", dims.size(), Shape::kMaxRank));
    auto bytes = static_cast<int64_t>(size_of(dtype));
    for (const int64_t dim : dims)
      check(!__builtin_mul_overflow(bytes, dim, &bytes), "its shape is too large");
    return Shape(dims);
  }

  /// [begin, end) in the data.
  std::pair<int64_t, int64_t> offsets(int64_t data_bytes) const {
    const std::vector<int64_t> pair = integers("data_offsets");
    check(pair.size() == 2, "data_offsets is not a pair");
    check(
        pair[0] <= pair[1] && pair[1] <= data_bytes,
        fmt::format("data_offsets [{}, {}] lie outside the {} bytes of data", pair[0], pair[1], data_bytes));
    return {pair[0], pair[1]};
  }

  void check(bool holds, const std::string& what) const {
    MG_CHECK(holds, "{}: tensor '{}': {}", file_, name_, what);
  }

 private:
  const Json& member(const char* key) const {
    const auto found = object_.find(key);
    check(found != object_.end(), fmt::format("{} is missing", key));
    return *found;
  }
  std::vector<int64_t> integers(const char* key) const {
    const Json& list = member(key);
    check(list.is_array(), fmt::format("{} is not a list", key));
    std::vector<int64_t> values;
    for (const Json& value : list) {
      check(value.is_number_unsigned() && std::in_range<int64_t>(value.get<uint64_t>()),
            fmt::format("{} holds {}, not a count", key, value.dump()));
      values.push_back(value.get<int64_t>());
    }
    return values;
  }

  std::string file_;
  const std::string& name_;
  const Json& object_;
};

std::map<std::string, std::string> read_metadata(const Json& object, const std::string& file) {
  MG_CHECK(object.is_object(), "{}: {} is not a JSON object", file, kMetadataKey);
  std::map<std::string, std::string> metadata;
  for (const auto& item : object.items()) {
    MG_CHECK(item.value().is_string(), "{}: {}: '{}' is not a string", file, kMetadataKey, item.key());
    metadata[item.key()] = item.value().get<std::string>();
  }
  return metadata;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string name = path.string();
  size_t data_begin = 0;
  const Json header = parse_header(header_text(file_, data_begin), name);
  const std::span<const std::byte> data = file_.bytes().subspan(data_begin);

  for (const auto& item : header.items()) {
    if (item.key() == kMetadataKey) {
      metadata_ = read_metadata(item.value(), name);
      continue;
    }
    const EntryReader reader(name, item.key(), item.value());
    const DType dtype = reader.dtype();
    TensorInfo info{item.key(), dtype, reader.shape(dtype)};
    const auto [begin, end] = reader.offsets(static_cast<int64_t>(data.size()));
    reader.check(end - begin == info.nbytes(),
                 fmt::format("{} {} needs {} bytes, its offsets give {}", format_name(dtype),
                             info.shape.str(), info.nbytes(), end - begin));
    entries_.push_back(
        {std::move(info), data.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin))});
  }

  const auto place = [&](const SafetensorsEntry& entry) { return entry.bytes.data() - data.data(); };
  std::sort(entries_.begin(), entries_.end(), [&](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(place(a), a.bytes.size()) < std::pair(place(b), b.bytes.size());
  });
  ptrdiff_t covered = 0;
  for (const SafetensorsEntry& entry : entries_) {
    MG_CHECK(place(entry) == covered, "{}: tensor '{}': begins at byte {} of the data, after byte {}: {}",
             name, entry.info.name, place(entry), covered,
             place(entry) < covered ? "tensors overlap" : "there is a hole");
    covered += static_cast<ptrdiff_t>(entry.bytes.size());
    index_[entry.info.name] = static_cast<size_t>(&entry - entries_.data());
  }
  MG_CHECK(covered == static_cast<ptrdiff_t>(data.size()), "{}: the tensors cover {} of {} bytes of data",
           name, covered, data.size());
}

const SafetensorsEntry* SafetensorsFile::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &entries_[found->second];
}

const SafetensorsEntry& SafetensorsFile::at(const std::string& name) const {
  if (const SafetensorsEntry* entry = find(name)) return *entry;
  std::vector<std::string> names;
  for (const auto& [known, place] : index_) names.push_back(known);
  const std::string guess = nearest(name, names);
  fail("{}: there is no tensor '{}'{}", path().string(), name,
       guess.empty() ? "" : fmt::format("; the nearest name is '{}'", guess));
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::span<const TensorInfo> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  Json header = Json::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  int64_t offset = 0;
  for (const TensorInfo& tensor : tensors) {
    MG_CHECK(tensor.name != kMetadataKey && !header.contains(tensor.name), "{}: tensor '{}' comes twice",
             path.string(), tensor.name);
    header[tensor.name] = {{"dtype", format_name(tensor.dtype)},
                           {"shape", std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end())},
                           {"data_offsets", {offset, offset + tensor.nbytes()}}};
    offset += tensor.nbytes();
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception& error) {
    fail("{}: a name or a text of the safetensors header is not UTF-8: {}", path.string(), error.what());
  }
  text.resize(round_up<size_t>(text.size(), 8), ' ');
  MG_CHECK(text.size() <= kMaxHeaderBytes, "{}: a safetensors header of {} bytes; at most {} are allowed",
           path.string(), text.size(), kMaxHeaderBytes);
  const uint64_t length = text.size();
  write(std::as_bytes(std::span(&length, 1)));
  write(std::as_bytes(std::span(text)));
  expected_bytes_ = bytes_written() + offset;
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  checksum_.update(bytes);
  file_.write(bytes.data(), bytes.size());
}

void SafetensorsWriter::add(std::span<const std::byte> bytes) {
  MG_CHECK(bytes_written() + static_cast<int64_t>(bytes.size()) <= expected_bytes_,
           "{}: more bytes are added than were announced", file_.path().string());
  write(bytes);
}

void SafetensorsWriter::commit() {
  MG_CHECK(bytes_written() == expected_bytes_, "{}: {} bytes of tensors are missing", file_.path().string(),
           expected_bytes_ - bytes_written());
  file_.commit();
}

}  // namespace megalith
