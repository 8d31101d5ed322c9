#pragma once
// defines: HfKeys

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"

namespace megalith {

/// The keys of one JSON object, with errors that name the file and the key. A null counts as absent.
class HfKeys {
 public:
  HfKeys(std::string file, const nlohmann::json& object) : file_(std::move(file)), object_(&object) {
    MG_CHECK(object.is_object(), "{}: not a JSON object", file_);
  }

  bool has(const char* key) const {
    const auto found = object_->find(key);
    return found != object_->end() && !found->is_null();
  }
  HfKeys object(const char* key) const { return HfKeys(fmt::format("{}: {}", file_, key), object_->at(key)); }
  const nlohmann::json& raw(const char* key) const { return object_->at(key); }

  int64_t count(const char* key, std::optional<int64_t> otherwise = {}) const {
    if (!has(key) && otherwise) return *otherwise;
    check_there(key);
    const nlohmann::json& value = object_->at(key);
    MG_CHECK(value.is_number_integer() && value.get<int64_t>() > 0,
             "{}: {}: {} is not a positive whole number", file_, key, value.dump());
    return value.get<int64_t>();
  }
  double number(const char* key, std::optional<double> otherwise = {}) const {
    if (!has(key) && otherwise) return *otherwise;
    check_there(key);
    const nlohmann::json& value = object_->at(key);
    MG_CHECK(value.is_number(), "{}: {}: {} is not a number", file_, key, value.dump());
    return value.get<double>();
  }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    const nlohmann::json& value = object_->at(key);
    MG_CHECK(value.is_boolean(), "{}: {}: {} is not true or false", file_, key, value.dump());
    return value.get<bool>();
  }
  std::string text(const char* key, const std::string& otherwise) const {
    if (!has(key)) return otherwise;
    const nlohmann::json& value = object_->at(key);
    MG_CHECK(value.is_string(), "{}: {}: {} is not a text", file_, key, value.dump());
    return value.get<std::string>();
  }

  [[noreturn]] void refuse(const char* key, const std::string& allowed) const {
    fail("{}: {}: {} is not supported; allowed: {}", file_, key, object_->at(key).dump(), allowed);
  }

 private:
  void check_there(const char* key) const { MG_CHECK(has(key), "{}: the key {} is missing", file_, key); }

  std::string file_;
  const nlohmann::json* object_;
};

}  // namespace megalith
