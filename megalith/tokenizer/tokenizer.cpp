#include "megalith/tokenizer/tokenizer.h"

namespace megalith {
namespace {

class PlainEncoder final : public Encoder {
 public:
  explicit PlainEncoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  void encode(std::string_view text, std::vector<int32_t>& ids) override {
    const std::vector<int32_t> encoded = tokenizer_->encode(text);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
  }

 private:
  const Tokenizer* tokenizer_;
};

}  // namespace

std::unique_ptr<Encoder> Tokenizer::make_encoder() const {
  return std::make_unique<PlainEncoder>(*this);
}

}  // namespace megalith
