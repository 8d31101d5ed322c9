#include <utility>

#include "megalith/tokenizer/tokenizer.h"
#include "megalith/tokenizer/utf8.h"

namespace megalith {

std::string StreamDecoder::push(int32_t token) {
  pending_ += tokenizer_->decode({&token, 1});
  const size_t complete = pending_.size() - incomplete_utf8_suffix(pending_);
  std::string text = pending_.substr(0, complete);
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::finish() {
  return std::exchange(pending_, {});
}

}  // namespace megalith
