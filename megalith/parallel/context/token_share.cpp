#include "megalith/parallel/context/token_share.h"

#include <algorithm>
#include <numeric>

#include "megalith/base/error.h"

namespace megalith {
namespace {

// Tokens of one row: [begin, end).
struct Stretch {
  int32_t begin, end;
  int64_t size() const { return end - begin; }
};

class RowShare {
 public:
  explicit RowShare(const TokenShareOptions& options)
      : options_(options),
        ranks_(static_cast<size_t>(options.ranks), Rank{.room = options.seq / options.ranks}) {}

  void place(std::vector<Stretch> documents) {
    if (options_.max_seqlen_per_rank > 0)
      std::stable_sort(documents.begin(), documents.end(),
                       [](const Stretch& a, const Stretch& b) { return a.size() > b.size(); });
    for (const Stretch& document : documents) place(document);
    fill_up();
  }

  // Appends the places of each rank, in their order.
  void append_to(std::vector<std::vector<int32_t>>& places) {
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      std::vector<Stretch>& held = ranks_[rank].held;
      std::sort(held.begin(), held.end(),
                [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
      for (const Stretch& stretch : held)
        for (int32_t place = stretch.begin; place < stretch.end; ++place) places[rank].push_back(place);
    }
  }

 private:
  struct Rank {
    int64_t room = 0;
    double work = 0;  // pairs of tokens
    std::vector<Stretch> held;
  };

  void place(const Stretch& document) {
    int64_t sharers = wanted_ranks(document.size());
    while (true) {
      const int64_t chunk = document.size() / (2 * sharers);
      const std::vector<size_t> chosen = choose(sharers, sharers == 1 ? document.size() : 2 * chunk);
      if (!chosen.empty()) return cut(document, chunk, chosen);
      if (sharers == options_.ranks) return left_.push_back(document);
      sharers = std::min<int64_t>(2 * sharers, options_.ranks);
    }
  }

  int64_t wanted_ranks(int64_t tokens) const {
    if (options_.max_seqlen_per_rank == 0) return options_.ranks;
    int64_t ranks = 1;
    while (ranks < options_.ranks && ranks * options_.max_seqlen_per_rank < tokens) ranks *= 2;
    return std::min<int64_t>(ranks, options_.ranks);
  }

  // In rank order; none where too few have room.
  std::vector<size_t> choose(int64_t count, int64_t tokens) const {
    std::vector<size_t> chosen;
    for (size_t rank = 0; rank < ranks_.size(); ++rank)
      if (ranks_[rank].room >= tokens) chosen.push_back(rank);
    if (static_cast<int64_t>(chosen.size()) < count) return {};
    std::stable_sort(chosen.begin(), chosen.end(),
                     [&](size_t a, size_t b) { return ranks_[a].work < ranks_[b].work; });
    chosen.resize(static_cast<size_t>(count));
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }

  void cut(const Stretch& document, int64_t chunk_size, const std::vector<size_t>& chosen) {
    const auto size = static_cast<double>(document.size());
    for (const size_t rank : chosen)
      ranks_[rank].work += size * size / 2 / static_cast<double>(chosen.size());
    if (chosen.size() == 1) return hold(chosen.front(), document);
    const auto chunk = static_cast<int32_t>(chunk_size);
    const auto num_chunks = static_cast<int32_t>(2 * chosen.size());
    const auto nth = [&](int32_t i) {
      return Stretch{document.begin + i * chunk, document.begin + (i + 1) * chunk};
    };
    for (int32_t i = 0; i < num_chunks / 2; ++i) {
      hold(chosen[static_cast<size_t>(i)], nth(i));
      hold(chosen[static_cast<size_t>(i)], nth(num_chunks - 1 - i));
    }
    left_.push_back({document.begin + num_chunks * chunk, document.end});
  }

  void fill_up() {
    std::sort(left_.begin(), left_.end(),
              [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
    size_t rank = 0;
    for (Stretch rest : left_) {
      while (rest.size() > 0) {
        while (ranks_[rank].room == 0) ++rank;
        const auto taken = static_cast<int32_t>(std::min(rest.size(), ranks_[rank].room));
        hold(rank, {rest.begin, rest.begin + taken});
        rest.begin += taken;
      }
    }
  }

  void hold(size_t rank, const Stretch& stretch) {
    if (stretch.size() == 0) return;
    ranks_[rank].room -= stretch.size();
    ranks_[rank].held.push_back(stretch);
  }

  const TokenShareOptions& options_;
  std::vector<Rank> ranks_;
  std::vector<Stretch> left_;
};

}  // namespace

TokenShare share_tokens(std::span<const int32_t> cu_seqlens, const TokenShareOptions& options) {
  const auto seq = static_cast<int32_t>(options.seq);
  MG_CHECK(options.seq % (2 * options.ranks) == 0, "{} tokens are not a multiple of 2 x {} ranks",
           options.seq, options.ranks);
  MG_CHECK(!cu_seqlens.empty() && cu_seqlens.front() == 0 && cu_seqlens.back() == options.batch * options.seq,
           "documents do not cover {} rows of {} tokens", options.batch, options.seq);
  TokenShare share{.batch = options.batch, .seq = options.seq, .places = {}};
  share.places.resize(static_cast<size_t>(options.ranks));
  size_t document = 0;
  for (int32_t row = 0; row < options.batch; ++row) {
    std::vector<Stretch> documents;
    for (; document + 1 < cu_seqlens.size() && cu_seqlens[document] < (row + 1) * seq; ++document)
      documents.push_back({cu_seqlens[document] - row * seq, cu_seqlens[document + 1] - row * seq});
    RowShare row_share(options);
    row_share.place(std::move(documents));
    row_share.append_to(share.places);
  }
  return share;
}

TokenShare merged(const TokenShare& share, int count) {
  TokenShare result{.batch = share.batch, .seq = share.seq, .places = {}};
  for (int first = 0; first < share.ranks(); first += count) {
    std::vector<int32_t>& places = result.places.emplace_back();
    for (int64_t b = 0; b < share.batch; ++b) {
      const auto begin = static_cast<std::ptrdiff_t>(places.size());
      for (int rank = first; rank < first + count; ++rank)
        places.insert(places.end(), share.row(rank, b).begin(), share.row(rank, b).end());
      std::sort(places.begin() + begin, places.end());
    }
  }
  return result;
}

}  // namespace megalith
