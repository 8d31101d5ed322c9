#include "megalith/base/error.h"
#include "megalith/report/plot.h"

namespace megalith {

void write_plot(const std::filesystem::path& path, const std::vector<PlotRun>&, const PlotOptions&) {
  fail(
      "{}: this build draws no pictures; install libcairo2-dev and pkg-config (`make build` does) and build "
      "again",
      path.string());
}

}  // namespace megalith
