#include "megalith/models/gpt/layer_pattern.h"

#include "megalith/base/error.h"

namespace megalith {
namespace {

// sum: product (+ product)*; product: list (* number)*; list: ( sum ) or [ 0 or 1 , ... ].
class PatternParser {
 public:
  PatternParser(const char* key, std::string_view text) : key_(key), text_(text) {}

  std::vector<bool> parse() {
    std::vector<bool> layers = sum();
    if (peek() != '\0') reject("nothing may follow the list");
    return layers;
  }

 private:
  static constexpr int kMaxDepth = 32;
  static constexpr size_t kMaxLayers = 1 << 20;

  std::vector<bool> sum() {
    std::vector<bool> layers = product();
    while (take('+')) {
      const std::vector<bool> more = product();
      layers.insert(layers.end(), more.begin(), more.end());
      check_size(layers.size());
    }
    return layers;
  }
  std::vector<bool> product() {
    std::vector<bool> layers = list();
    while (take('*')) {
      const auto times = static_cast<size_t>(number());
      check_size(layers.size() * times);
      std::vector<bool> repeated;
      for (size_t i = 0; i < times; ++i) repeated.insert(repeated.end(), layers.begin(), layers.end());
      layers = repeated;
    }
    return layers;
  }
  std::vector<bool> list() {
    if (take('(')) {
      if (++depth_ > kMaxDepth) reject("the parentheses are too deep");
      std::vector<bool> layers = sum();
      if (!take(')')) reject("a ) is missing");
      --depth_;
      return layers;
    }
    if (!take('[')) reject("a list begins with [");
    std::vector<bool> layers;
    while (!take(']')) {
      if (!layers.empty() && !take(',')) reject("a list is [0, 1, ...]");
      const int64_t value = number();
      if (value > 1) reject("a list holds 0 and 1 only");
      layers.push_back(value == 1);
      check_size(layers.size());
    }
    return layers;
  }
  int64_t number() {
    int64_t value = 0;
    if (peek() < '0' || peek() > '9') reject("a number is missing");
    while (place_ < text_.size() && text_[place_] >= '0' && text_[place_] <= '9') {
      value = value * 10 + (text_[place_++] - '0');
      check_size(static_cast<size_t>(value));
    }
    return value;
  }

  char peek() {
    while (place_ < text_.size() && text_[place_] == ' ') ++place_;
    return place_ < text_.size() ? text_[place_] : '\0';
  }
  bool take(char wanted) {
    if (peek() != wanted || place_ >= text_.size()) return false;
    ++place_;
    return true;
  }
  void check_size(size_t size) const {
    if (size > kMaxLayers) reject(fmt::format("more than {} layers", kMaxLayers));
  }
  [[noreturn]] void reject(const std::string& reason) const {
    throw UsageError(fmt::format("{} '{}': {} (character {}); allowed: a number, or a list as ([0]*1+[1]*26)",
                                 key_, text_, reason, place_ + 1));
  }

  const char* key_;
  std::string_view text_;
  size_t place_ = 0;
  int depth_ = 0;
};

}  // namespace

std::vector<bool> parse_layer_pattern(const char* key, const std::string& text, int64_t num_layers) {
  const bool is_number = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  if (is_number) {
    if (text.size() > 9 || std::stoll(text) < 1)
      throw UsageError(fmt::format("{} {}: a number must be from 1 to 999999999", key, text));
    std::vector<bool> layers;
    for (int64_t layer = 0; layer < num_layers; ++layer) layers.push_back(layer % std::stoll(text) == 0);
    return layers;
  }
  std::vector<bool> layers = PatternParser(key, text).parse();
  if (static_cast<int64_t>(layers.size()) != num_layers)
    throw UsageError(
        fmt::format("{} '{}' describes {} layers; num_layers is {}", key, text, layers.size(), num_layers));
  return layers;
}

}  // namespace megalith
