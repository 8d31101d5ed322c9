#include "megalith/report/paper_cairo.h"

#include <cairo-svg.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"

namespace megalith {
namespace {

cairo_status_t append(void* text, const unsigned char* data, unsigned int length) {
  static_cast<std::string*>(text)->append(reinterpret_cast<const char*>(data), length);
  return CAIRO_STATUS_SUCCESS;
}

void check(cairo_status_t status, const std::filesystem::path& path) {
  MG_CHECK(status == CAIRO_STATUS_SUCCESS, "{}: cannot be drawn: {}", path.string(),
           cairo_status_to_string(status));
}

}  // namespace

Paper::Paper(cairo_surface_t* surface, int width, int height)
    : surface_(surface, cairo_surface_destroy), cairo_(cairo_create(surface), cairo_destroy) {
  set({1, 1, 1}, 1);
  cairo_rectangle(pen(), 0, 0, width, height);
  cairo_fill(pen());
  cairo_set_line_join(pen(), CAIRO_LINE_JOIN_ROUND);
  cairo_set_line_cap(pen(), CAIRO_LINE_CAP_ROUND);
}

void Paper::font(double size, Weight weight) {
  cairo_select_font_face(pen(), "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                         weight == Weight::kBold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size(pen(), size);
}

double Paper::text_width(const std::string& text) {
  cairo_text_extents_t extents;
  cairo_text_extents(pen(), text.c_str(), &extents);
  return extents.x_advance;
}

void Paper::text(double x, double y, const std::string& text, Align align) {
  const double shift = align == Align::kLeft ? 0 : align == Align::kRight ? 1 : 0.5;
  cairo_move_to(pen(), x - shift * text_width(text), y);
  cairo_show_text(pen(), text.c_str());
}

void Paper::line(double x0, double y0, double x1, double y1, double width) {
  cairo_new_path(pen());
  cairo_set_line_width(pen(), width);
  cairo_move_to(pen(), x0, y0);
  cairo_line_to(pen(), x1, y1);
  cairo_stroke(pen());
}

void write_picture(const std::filesystem::path& path, int width, int height,
                   const std::function<void(Paper&)>& draw) {
  const std::string extension = path.extension().string();
  std::string bytes;
  if (extension == ".svg") {
    Paper paper(cairo_svg_surface_create_for_stream(append, &bytes, width, height), width, height);
    draw(paper);
    cairo_surface_finish(paper.surface());
    check(cairo_surface_status(paper.surface()), path);
  } else if (extension == ".png") {
    Paper paper(cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height), width, height);
    draw(paper);
    check(cairo_surface_write_to_png_stream(paper.surface(), append, &bytes), path);
  } else {
    throw UsageError(fmt::format("{}: a picture is a .svg or a .png file", path.string()));
  }
  write_text_file(path, bytes);
}

}  // namespace megalith
