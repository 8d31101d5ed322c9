#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/report/plot.h"

namespace megalith {
namespace {

struct PlotCommandOptions {
  std::vector<std::string> run;
  std::vector<std::string> out = {"loss.svg", "loss.png"};
  std::vector<std::string> label;
  std::string title;
  std::string metric = "loss";
  std::string x = "step";
  bool log_y = false;
  bool show_lr = false;
  double smoothing = 0.9;
  int64_t width = 1200;
  int64_t height = 720;
};

void declare_fields(PlotCommandOptions& c, FieldList& f) {
  f.add("run", c.run,
        {.help = "metrics.jsonl of a run, or the directory that holds it",
         .positional = true,
         .required = true});
  f.add("out", c.out, {.help = "pictures to write, .svg or .png", .value_name = "FILE", .main = true});
  f.add("label", c.label, {.help = "names of the runs in the legend, one each", .main = true});
  f.add("title", c.title, {.help = "title of the picture", .main = true});
  f.add("metric", c.metric,
        {.help = "which number to draw; its evaluations are eval_NAME", .value_name = "NAME", .main = true});
  f.add("x", c.x, {.help = "step, or a metric such as consumed_samples", .value_name = "NAME", .main = true});
  f.add("log_y", c.log_y, {.help = "logarithmic y axis", .main = true});
  f.add("show_lr", c.show_lr, {.help = "a strip with the learning rate", .main = true});
  f.add("smoothing", c.smoothing,
        {.help = "weight of the past in the strong line", .min = 0, .below = 1, .main = true});
  f.add("width", c.width, {.help = "pixels", .min = 400, .max = 10000});
  f.add("height", c.height, {.help = "pixels", .min = 300, .max = 10000});
}

void validate(const PlotCommandOptions& c) {
  if (!c.label.empty() && c.label.size() != c.run.size()) {
    throw UsageError(
        fmt::format("--label: {} names for {} runs; it takes one each", c.label.size(), c.run.size()));
  }
}

void run_plot(CommandLine& line) {
  PlotCommandOptions options;
  line.add("plot", "Plot", options);
  if (!line.parse()) return;
  std::vector<PlotRun> runs;
  for (size_t i = 0; i < options.run.size(); ++i) {
    runs.push_back(load_plot_run(options.run[i], options.metric, options.x));
    if (!options.label.empty()) runs.back().label = options.label[i];
  }
  const PlotOptions plot{
      .title = options.title.empty()
                   ? options.metric + " of " + runs[0].label +
                         (runs.size() > 1 ? fmt::format(" and {} more", runs.size() - 1) : "")
                   : options.title,
      .x_label = options.x,
      .y_label = options.metric,
      .y_scale = options.log_y ? AxisScale::kLog : AxisScale::kLinear,
      .smoothing = options.smoothing,
      .show_lr = options.show_lr,
      .width = static_cast<int>(options.width),
      .height = static_cast<int>(options.height)};
  for (const std::string& out : options.out) {
    write_plot(out, runs, plot);
    std::printf("%s\n", out.c_str());
  }
}

}  // namespace

Command plot_command() {
  return {.name = "plot",
          .summary = "Draw the loss curves of one or several training runs as SVG and PNG.",
          .examples = {"megalith plot demo/run --out loss.png --show-lr",
                       "megalith plot runs/a runs/b --label small large --log-y"},
          .run = run_plot};
}

}  // namespace megalith
