#include "megalith/checkpoint/manifest.h"

#include <charconv>
#include <span>

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/io/mmap_file.h"
#include "megalith/io/xxh64.h"

namespace megalith {
namespace {

using Json = nlohmann::json;

constexpr const char* kFormat = "megalith-checkpoint";
constexpr int64_t kVersion = 1;
constexpr const char* kOwnChecksum = "manifest_xxh64";

std::string checksum_text(uint64_t checksum) {
  return fmt::format("{:016x}", checksum);
}

uint64_t parse_checksum(const std::string& text) {
  uint64_t checksum = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), checksum, 16);
  MG_CHECK(error == std::errc() && end == text.data() + text.size() && text.size() == 16,
           "'{}' is not a checksum of 16 hexadecimal digits", text);
  return checksum;
}

/// Of the object without its own checksum. Keys are sorted and blanks left out, so layout does not count.
uint64_t checksum_of(const Json& object) {
  const std::string text = object.dump();
  return xxh64(std::as_bytes(std::span(text)));
}

Manifest parse(const std::string& text) {
  Json object = Json::parse(text);
  MG_CHECK(object.value("format", "") == kFormat, "it is not the manifest of a Megalith checkpoint");
  const auto version = object.at("version").get<int64_t>();
  MG_CHECK(version == kVersion, "it has format version {}; this program reads version {}", version, kVersion);
  const uint64_t stored = parse_checksum(object.at(kOwnChecksum).get<std::string>());
  object.erase(kOwnChecksum);
  MG_CHECK(stored == checksum_of(object), "its contents differ from its checksum {}: the file was altered",
           checksum_text(stored));

  Manifest manifest;
  object.at("iteration").get_to(manifest.iteration);
  object.at("config").get_to(manifest.config_yaml);
  object.at("state").get_to(manifest.state);
  for (const auto& item : object.at("files").items()) {
    MG_CHECK(!item.key().empty() && item.key().find('/') == std::string::npos, "'{}' is not a file name",
             item.key());
    manifest.files[item.key()] = {.bytes = item.value().at("bytes").get<int64_t>(),
                                  .checksum = parse_checksum(item.value().at("xxh64").get<std::string>())};
  }
  return manifest;
}

}  // namespace

std::string to_json(const Manifest& manifest) {
  Json object = {{"format", kFormat},
                 {"version", kVersion},
                 {"iteration", manifest.iteration},
                 {"config", manifest.config_yaml},
                 {"state", Json(manifest.state)},
                 {"files", Json::object()}};
  for (const auto& [name, file] : manifest.files) {
    object["files"][name] = {{"bytes", file.bytes}, {"xxh64", checksum_text(file.checksum)}};
  }
  try {
    object[kOwnChecksum] = checksum_text(checksum_of(object));
    return object.dump(2) + "\n";
  } catch (const Json::exception& error) {
    fail("a checkpoint's config and state must be UTF-8 text: {}", error.what());
  }
}

Manifest read_manifest(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  try {
    return parse(text);
  } catch (const Json::exception& error) {
    fail("{}: the manifest is torn or corrupt: {}", path.string(), error.what());
  } catch (const Error& error) {
    fail("{}: the manifest cannot be used: {}", path.string(), error.what());
  }
}

void verify_file(const std::filesystem::path& path, const StoredFile& expected) {
  const MmapFile file(path);
  MG_CHECK(file.size() == expected.bytes, "{}: the file is torn: it has {} bytes, its manifest says {}",
           path.string(), file.size(), expected.bytes);
  const uint64_t checksum = xxh64(file.bytes());
  MG_CHECK(checksum == expected.checksum, "{}: the file is corrupt: its checksum is {}, its manifest says {}",
           path.string(), checksum_text(checksum), checksum_text(expected.checksum));
}

}  // namespace megalith
