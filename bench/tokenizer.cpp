// Encoding speed: bench_tokenizer TOKENIZER TEXT_FILE THREADS [encoder|encode]
// `encoder` (the default) keeps one Encoder a thread, `encode` calls Tokenizer::encode for each document.
// Documents are parts of about 20 kB that end with a line.
#include "megalith/tokenizer/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/parallel.h"

namespace {

constexpr size_t kDocumentBytes = 20000;
constexpr int kRounds = 3;

std::vector<std::string_view> documents_of(std::string_view text) {
  std::vector<std::string_view> documents;
  while (!text.empty()) {
    const size_t line_end = text.size() > kDocumentBytes ? text.find('\n', kDocumentBytes) : text.npos;
    const size_t size = line_end == text.npos ? text.size() : line_end + 1;
    documents.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return documents;
}

}  // namespace

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  if (argc < 4) {
    fmt::print(stderr, "usage: bench_tokenizer TOKENIZER TEXT_FILE THREADS [encoder|encode]\n");
    return 2;
  }
  try {
    const auto tokenizer = megalith::load_tokenizer(argv[1]);
    const std::string text = megalith::read_text_file(argv[2]);
    const int num_threads = std::max(1, std::stoi(argv[3]));
    const bool use_encoder = argc < 5 || std::string_view(argv[4]) == "encoder";
    const auto documents = documents_of(text);
    double best_s = 1e30;
    size_t num_tokens = 0;
    for (int round = 0; round < kRounds; ++round) {
      const auto begin = Clock::now();
      std::atomic<size_t> next{0};
      std::atomic<size_t> total{0};
      megalith::parallel_for(num_threads, num_threads, [&](int64_t) {
        const auto encoder = tokenizer->make_encoder();
        std::vector<int32_t> ids;
        for (size_t i = next++; i < documents.size(); i = next++) {
          ids.clear();
          if (use_encoder)
            encoder->encode(documents[i], ids);
          else
            ids = tokenizer->encode(documents[i]);
          total += ids.size();
        }
      });
      best_s = std::min(best_s, std::chrono::duration<double>(Clock::now() - begin).count());
      num_tokens = total;
    }
    const auto count = static_cast<double>(num_tokens);
    fmt::print("threads {} tokens {} seconds {:.3f} MB/s {:.1f} Mtokens/s {:.2f}\n", num_threads, num_tokens,
               best_s, static_cast<double>(text.size()) / best_s / 1e6, count / best_s / 1e6);
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_tokenizer: {}\n", error.what());
    return 1;
  }
}
