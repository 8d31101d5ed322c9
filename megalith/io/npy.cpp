#include "megalith/io/npy.h"

#include <array>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"

// Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
// "\x93NUMPY", major, minor, header length (u16 in version 1, u32 after), a Python dict literal padded with
// spaces and a newline so that the data starts at a multiple of 64 (16 in old files), data.

namespace megalith {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;

struct TypeRow {
  NpyType type;
  const char* descr;
  const char* name;
  int64_t item_bytes;
};
constexpr std::array<TypeRow, 10> kTypes{{{NpyType::kInt8, "|i1", "int8", 1},
                                          {NpyType::kUint8, "|u1", "uint8", 1},
                                          {NpyType::kInt16, "<i2", "int16", 2},
                                          {NpyType::kUint16, "<u2", "uint16", 2},
                                          {NpyType::kInt32, "<i4", "int32", 4},
                                          {NpyType::kUint32, "<u4", "uint32", 4},
                                          {NpyType::kInt64, "<i8", "int64", 8},
                                          {NpyType::kUint64, "<u8", "uint64", 8},
                                          {NpyType::kFloat32, "<f4", "float32", 4},
                                          {NpyType::kFloat64, "<f8", "float64", 8}}};

const TypeRow& row_of(NpyType type) {
  return kTypes[static_cast<size_t>(type)];
}

/// What follows `'key':` in the dict literal, leading blanks removed.
std::optional<std::string_view> value_after(std::string_view header, std::string_view key) {
  for (const char quote : {'\'', '"'}) {
    const std::string quoted = fmt::format("{}{}{}", quote, key, quote);
    const size_t at = header.find(quoted);
    if (at == std::string_view::npos) continue;
    const std::string_view rest = trim(header.substr(at + quoted.size()));
    if (!rest.starts_with(':')) return std::nullopt;
    return trim(rest.substr(1));
  }
  return std::nullopt;
}

/// "(2, 3)" or "(2,)" or "()".
std::optional<std::vector<int64_t>> parse_shape(std::string_view text) {
  const size_t close = text.find(')');
  if (!text.starts_with('(') || close == std::string_view::npos) return std::nullopt;
  std::vector<int64_t> shape;
  for (const std::string& part : split(text.substr(1, close - 1), ',')) {
    const std::string_view digits = trim(part);
    if (digits.empty()) continue;
    int64_t dim = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), dim);
    if (error != std::errc() || end != digits.data() + digits.size() || dim < 0) return std::nullopt;
    shape.push_back(dim);
  }
  return shape;
}

}  // namespace

int64_t npy_item_bytes(NpyType type) {
  return row_of(type).item_bytes;
}

const char* npy_type_name(NpyType type) {
  return row_of(type).name;
}

NpyArray::NpyArray(MmapFile file, NpyType type, std::vector<int64_t> shape, size_t data_offset)
    : file_(std::move(file)), type_(type), shape_(std::move(shape)), data_offset_(data_offset) {
  for (const int64_t dim : shape_) num_elements_ *= dim;
}

void NpyArray::require_type(NpyType wanted) const {
  MG_CHECK(type_ == wanted, "{}: the array holds {}, not {}", path().string(), npy_type_name(type_),
           npy_type_name(wanted));
}

NpyArray read_npy(const std::filesystem::path& path) {
  MmapFile file(path);
  const std::string name = path.string();
  const std::string_view all(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  MG_CHECK(all.size() >= 10 && all.starts_with(kMagic), "{}: not a .npy file", name);
  const int major = static_cast<unsigned char>(all[6]);
  MG_CHECK(major >= 1 && major <= 3, "{}: .npy format version {} is not known (1 to 3 are)", name, major);
  const size_t length_bytes = major == 1 ? 2 : 4;
  const size_t header_begin = 8 + length_bytes;
  MG_CHECK(all.size() >= header_begin, "{}: the .npy header is cut off", name);
  uint32_t header_bytes = 0;
  std::memcpy(&header_bytes, all.data() + 8, length_bytes);
  MG_CHECK(header_bytes <= all.size() - header_begin, "{}: the .npy header is cut off", name);
  const std::string_view header = all.substr(header_begin, header_bytes);

  const auto descr = value_after(header, "descr");
  const TypeRow* row = nullptr;
  for (const TypeRow& candidate : kTypes) {
    if (descr && descr->size() > 4 && descr->substr(1, 3) == candidate.descr) row = &candidate;
  }
  MG_CHECK(row != nullptr, "{}: the .npy element type is missing or not one that is read: {}", name,
           trim(descr.value_or("").substr(0, 16)));
  const auto order = value_after(header, "fortran_order");
  MG_CHECK(order && order->starts_with("False"), "{}: only C order is read from .npy files", name);
  const auto shape_text = value_after(header, "shape");
  auto shape = shape_text ? parse_shape(*shape_text) : std::nullopt;
  MG_CHECK(shape.has_value(), "{}: the .npy header has no readable shape", name);

  const size_t data_offset = header_begin + header_bytes;
  MG_CHECK(data_offset % 16 == 0, "{}: the .npy data does not start at a multiple of 16", name);
  int64_t bytes = row->item_bytes;
  for (const int64_t dim : *shape) {
    MG_CHECK(!__builtin_mul_overflow(bytes, dim, &bytes), "{}: the .npy shape is too large", name);
  }
  const int64_t present = static_cast<int64_t>(all.size() - data_offset);
  MG_CHECK(present == bytes, "{}: the .npy shape needs {} bytes of data, the file has {}", name, bytes,
           present);
  return NpyArray(std::move(file), row->type, *std::move(shape), data_offset);
}

void write_npy(const std::filesystem::path& path, NpyType type, std::span<const int64_t> shape,
               std::span<const std::byte> bytes) {
  int64_t wanted = npy_item_bytes(type);
  std::string dims;
  for (const int64_t dim : shape) {
    wanted *= dim;
    dims += fmt::format("{}{}", dims.empty() ? "" : ", ", dim);
  }
  if (shape.size() == 1) dims += ",";
  MG_CHECK(wanted == static_cast<int64_t>(bytes.size()),
           "{}: the shape ({}) of {} needs {} bytes, {} were given", path.string(), dims, npy_type_name(type),
           wanted, bytes.size());

  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", row_of(type).descr, dims);
  const size_t prefix = kMagic.size() + 4;
  header.append(kAlignment - 1 - (prefix + header.size()) % kAlignment, ' ');
  header += '\n';
  MG_CHECK(header.size() <= std::numeric_limits<uint16_t>::max(), "{}: the shape has too many dimensions",
           path.string());
  AtomicFile file(path);
  file.write(kMagic);
  file.write(std::string_view("\x01\x00", 2));
  file.write_pod(static_cast<uint16_t>(header.size()));
  file.write(header);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

}  // namespace megalith
