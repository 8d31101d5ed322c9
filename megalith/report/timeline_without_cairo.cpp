#include "megalith/base/error.h"
#include "megalith/report/timeline_plot.h"

namespace megalith {

void write_timeline(const std::filesystem::path& path, const TimelinePlot&) {
  fail(
      "{}: this build draws no pictures; install libcairo2-dev and pkg-config (`make build` does) and build "
      "again",
      path.string());
}

}  // namespace megalith
