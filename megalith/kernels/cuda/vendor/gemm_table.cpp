#include "megalith/kernels/cuda/vendor/gemm_table.h"

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "megalith/base/error.h"

namespace megalith::cuda {
namespace {

constexpr std::string_view kMagic = "gemm_table";

const char* epilogue_of(const GemmKey& key) {
  return key.has_bias ? "bias" : key.reads_c ? "C" : "-";
}

// Fails when the line does not have the form that text() gives.
std::pair<GemmKey, GemmAlgorithm> parse_line(const std::string& line) {
  std::istringstream in(line);
  GemmKey key{.a_alignment = 16, .b_alignment = 16, .c_alignment = 16};
  std::string layout, dtype, out_dtype, epilogue;
  in >> key.m >> key.n >> key.k >> layout >> dtype >> out_dtype >> epilogue >> key.a_stride >> key.b_stride >>
      key.c_stride;
  GemmAlgorithm algorithm;
  for (uint64_t& word : algorithm.words) in >> std::hex >> word;
  MG_CHECK(!in.fail(), "expected M N K LAYOUT IN OUT EPILOGUE, three strides and eight words");
  MG_CHECK(layout.size() == 2 && layout.find_first_not_of("NT") == std::string::npos,
           "layout {}; allowed: NN, NT, TN, TT", layout);
  MG_CHECK(epilogue == "-" || epilogue == "C" || epilogue == "bias", "epilogue {}; allowed: -, C, bias",
           epilogue);
  key.transpose_a = layout[0] == 'T';
  key.transpose_b = layout[1] == 'T';
  key.is_tf32 = dtype == "tf32";
  key.dtype = key.is_tf32 ? DType::kF32 : parse_dtype(dtype);
  key.out_dtype = parse_dtype(out_dtype);
  key.reads_c = epilogue == "C";
  key.has_bias = epilogue == "bias";
  key.bias_alignment = key.has_bias ? 16 : 0;
  return {key, algorithm};
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  MG_CHECK(file.good() && !text.str().empty(), "MEGALITH_GEMM_TABLE={}: the file cannot be read", path);
  return text.str();
}

}  // namespace

GemmTable GemmTable::for_device(size_t library_version, const std::string& device_name) {
  if (const char* path = std::getenv("MEGALITH_GEMM_TABLE")) {
    GemmTable table = parse(read_text(path), path);
    MG_CHECK(table.library_version_ == library_version && table.device_name_ == device_name,
             "MEGALITH_GEMM_TABLE={}: made with cuBLASLt {} on {}; here are cuBLASLt {} and {}", path,
             table.library_version_, table.device_name_, library_version, device_name);
    return table;
  }
  GemmTable known(library_version, device_name);
  for (const std::string_view text : builtin_gemm_tables()) {
    GemmTable table = parse(text, "built-in gemm table");
    if (table.library_version_ == library_version && table.device_name_ == device_name)
      known.entries_.merge(table.entries_);
  }
  return known;
}

GemmTable GemmTable::parse(std::string_view text, const std::string& source) {
  std::istringstream in{std::string(text)};
  std::string line, magic;
  size_t library_version = 0;
  std::getline(in, line);
  std::istringstream head(line);
  head >> magic >> library_version >> std::ws;
  std::string device_name;
  std::getline(head, device_name);
  MG_CHECK(magic == kMagic && library_version > 0 && !device_name.empty(),
           "{}: the first line is not '{} VERSION DEVICE'", source, kMagic);
  GemmTable table(library_version, device_name);
  for (int number = 2; std::getline(in, line); ++number) {
    const size_t end = line.find('#');
    const std::string body = line.substr(0, end);
    if (body.find_first_not_of(" \t\r") == std::string::npos) continue;
    try {
      const auto [key, algorithm] = parse_line(body);
      const size_t remark = end == std::string::npos ? end : line.find_first_not_of("# ", end);
      table.add(key, algorithm, remark == std::string::npos ? "" : line.substr(remark));
    } catch (const Error& error) {
      fail("{}, line {}: {}", source, number, error.what());
    }
  }
  return table;
}

const GemmAlgorithm* GemmTable::find(const GemmKey& key) const {
  if (!key.is_aligned()) return nullptr;
  const auto entry = entries_.find(key);
  return entry == entries_.end() ? nullptr : &entry->second.algorithm;
}

void GemmTable::add(const GemmKey& key, const GemmAlgorithm& algorithm, std::string remark) {
  MG_ASSERT(key.is_aligned());
  entries_[key] = {algorithm, std::move(remark)};
}

std::string GemmTable::text() const {
  std::string text = fmt::format("{} {} {}\n", kMagic, library_version_, device_name_);
  for (const auto& [key, entry] : entries_) {
    text += fmt::format("{} {} {} {}{} {} {} {} {} {} {}", key.m, key.n, key.k, key.transpose_a ? 'T' : 'N',
                        key.transpose_b ? 'T' : 'N', key.operand_name(), name_of(key.out_dtype),
                        epilogue_of(key), key.a_stride, key.b_stride, key.c_stride);
    for (const uint64_t word : entry.algorithm.words) text += fmt::format(" {:x}", word);
    text += entry.remark.empty() ? "\n" : fmt::format(" # {}\n", entry.remark);
  }
  return text;
}

}  // namespace megalith::cuda
