#include <cerrno>
#include <cstdio>
#include <memory>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/tokenizer/bpe_trainer.h"

namespace megalith {
namespace {

constexpr size_t kPartBytes = size_t{4} << 20;

class FileTexts {
 public:
  explicit FileTexts(std::span<const std::filesystem::path> files) : files_(files.begin(), files.end()) {}

  bool next(std::string& text) {
    while (true) {
      if (!file_ && !open_next()) return false;
      text = std::exchange(rest_, {});
      const size_t before = text.size();
      text.resize(before + kPartBytes);
      const size_t count = std::fread(text.data() + before, 1, kPartBytes, file_.get());
      text.resize(before + count);
      MG_CHECK(!std::ferror(file_.get()), "{}: cannot be read: {}", path().string(), system_message(errno));
      if (count < kPartBytes) {
        file_.reset();
      } else if (const size_t cut = safe_cut(text)) {
        rest_ = text.substr(cut);
        text.resize(cut);
      }
      if (!text.empty()) return true;
    }
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  const std::filesystem::path& path() const { return files_[num_opened_ - 1]; }

  bool open_next() {
    if (num_opened_ == files_.size()) return false;
    ++num_opened_;
    MG_CHECK(!std::filesystem::is_directory(path()), "{}: is a directory, a text file is expected",
             path().string());
    file_.reset(std::fopen(path().c_str(), "rb"));
    MG_CHECK(file_ != nullptr, "{}: cannot be opened: {}", path().string(), system_message(errno));
    return true;
  }

  std::vector<std::filesystem::path> files_;
  size_t num_opened_ = 0;
  std::unique_ptr<std::FILE, Close> file_;
  std::string rest_;
};

}  // namespace

NextText files_as_text(std::span<const std::filesystem::path> files) {
  return [texts = std::make_shared<FileTexts>(files)](std::string& text) { return texts->next(text); };
}

}  // namespace megalith
