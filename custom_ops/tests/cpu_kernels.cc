// Runs every CPU kernel on random inputs in buffers of exact size, on one and on several threads, and checks
// that both agree and that the gradients are those of the forward pass. Meant for the sanitizers:
//   python -m pytest tests/ops/test_sanitizers.py
// or by hand
//   g++ -std=c++17 -g -O1 -fsanitize=address,undefined -Icustom_ops -I<folder of Eigen> this file -lpthread
#include "batch_norm/batch_norm_cpu.h"
#include "carafe/carafe_cpu.h"
#include "conv3x3/conv3x3_cpu.h"
#include "corner_pool/corner_pool_cpu.h"
#include "deform_conv/deform_conv_cpu.h"
#include "deform_roi_pool/deform_roi_pool_cpu.h"
#include "grouped_conv/grouped_conv_cpu.h"
#include "masked_conv/masked_conv_cpu.h"
#include "ms_deform_attn/ms_deform_attn_cpu.h"
#include "roi_align/roi_align_cpu.h"
#include "tests/boxes_and_masks.h"
#include "tests/checks.h"

namespace {

using namespace kdet::checks;  // NOLINT
using kdet::BFloat16;
using kdet::Half;
using kdet::ParallelFor;

template <typename T>
void check_roi(const char* name, float tolerance, bool aligned, int ratio) {
  kdet::RoiAlign p = {2, {13, 7}, {17, 9}, {0.25f, 0.125f}, 2, 11, 19, 3, 2, ratio, aligned};
  const auto a = random_buffer<T>(2 * 13 * 17 * 19, -1, 1), b = random_buffer<T>(2 * 7 * 9 * 19, -1, 1);
  const T* maps[] = {a.get(), b.get()};
  const auto boxes = random_boxes(22, 60);
  const auto levels = random_ints(22, 0, 1);
  const int64_t size = 22 * 3 * 2 * 19;
  const auto upstream = random_buffer<T>(size, -1, 1);
  const auto offsets = random_buffer<float>(22 * 6 * 2, -2, 2);
  for (bool moved : {false, true}) {
    if (moved && !aligned) continue;
    Buffer<T> out[] = {Buffer<T>(size), Buffer<T>(size)};
    Buffer<T> ga[] = {unwritten<T>(a.n), unwritten<T>(a.n)}, gb[] = {unwritten<T>(b.n), unwritten<T>(b.n)};
    Buffer<float> shifts[] = {Buffer<float>(offsets.n), Buffer<float>(offsets.n)};
    for (int k = 0; k < 2; ++k) {
      const ParallelFor parallel = threads(k ? 4 : 1);
      T* gradients[] = {ga[k].get(), gb[k].get()};
      if (moved) {
        kdet::deform_roi_pool_forward(p, 0.1f, maps, boxes.get(), levels.get(), offsets.get(), out[k].get(), parallel);
        kdet::deform_roi_pool_backward(p, 0.1f, maps, boxes.get(), levels.get(), offsets.get(), upstream.get(),
                                       gradients, shifts[k].get(), parallel);
      } else {
        kdet::roi_align_forward(p, maps, boxes.get(), levels.get(), out[k].get(), parallel);
        kdet::roi_align_backward(p, upstream.get(), boxes.get(), levels.get(), gradients, parallel);
      }
    }
    same(name, out[0], out[1], 0);
    same(name, ga[0], ga[1], 0);
    same(name, shifts[0], shifts[1], 0);
    adjoint(name, inner(upstream, out[0]), inner(ga[0], a) + inner(gb[0], b), tolerance);
  }
}

template <typename T>
void check_deform_conv(const char* name, float tolerance, int groups, int parts, int channels = 8) {
  const kdet::DeformConv p = {2, 9, 11, channels, 5, 6, 12, 3, 3, 2, 2, 2, 2, 2, 2, groups, parts};
  const auto x = random_buffer<T>(2 * 9 * 11 * channels, -1, 1);
  const auto kernel = random_buffer<T>(9 * channels / groups * 12, -1, 1);
  const auto weights = floats(kernel);
  const int64_t samples = p.pixels() * parts * 9;
  auto offsets = random_buffer<float>(samples * 2, -3, 3);
  offsets.get()[0] = 1e30f;
  offsets.get()[1] = -1e30f;
  const auto mask = random_buffer<float>(samples, 0, 1);
  const auto upstream = random_buffer<T>(p.pixels() * 12, -1, 1);
  Buffer<T> out[] = {Buffer<T>(upstream.n), Buffer<T>(upstream.n)};
  Buffer<T> gx[] = {unwritten<T>(x.n), unwritten<T>(x.n)}, gk[] = {unwritten<T>(kernel.n), unwritten<T>(kernel.n)};
  for (int k = 0; k < 2; ++k) {
    const ParallelFor parallel = threads(k ? 4 : 1);
    kdet::deform_conv::forward(p, x.get(), weights.get(), offsets.get(), mask.get(), out[k].get(), parallel);
    const auto shards = kdet::deform_conv::shards_of<T>(p, parallel.threads);
    std::vector<Buffer<float>> copies;
    std::vector<float*> for_offsets, for_mask;
    copies.reserve(2 * shards.tasks);
    for (int task = 0; task < shards.tasks; ++task) {
      for_offsets.push_back(copies.emplace_back(offsets.n).get());
      for_mask.push_back(copies.emplace_back(mask.n).get());
    }
    kdet::deform_conv::backward<T>(p, shards, x.get(), kernel.get(), offsets.get(), mask.get(), upstream.get(),
                                   {gx[k].get(), gk[k].get(), for_offsets.data(), for_mask.data()}, parallel);
    Buffer<float> by_mask(mask.n);
    for (float* copy : for_mask) kdet::add_scaled(1.0f, copy, mask.n, by_mask.get());
    adjoint(name, inner(upstream, out[k]), inner(by_mask, mask), tolerance);
  }
  same(name, out[0], out[1], 0);
  same(name, gx[0], gx[1], tolerance);
  adjoint(name, inner(upstream, out[0]), inner(gx[0], x), tolerance);
  adjoint(name, inner(upstream, out[0]), inner(gk[0], kernel), tolerance);
}

template <typename T>
void check_deform_columns(const char* name, float tolerance, int groups, int parts, int channels) {
  const kdet::DeformConv p = {2, 9, 11, channels, 5, 6, 0, 3, 3, 2, 2, 2, 2, 2, 2, groups, parts};
  const auto x = random_buffer<T>(2 * 9 * 11 * channels, -1, 1);
  auto offsets = random_buffer<float>(p.samples() * 2, -3, 3);
  offsets.get()[0] = 1e30f;
  offsets.get()[1] = -1e30f;
  const auto mask = random_buffer<float>(p.samples(), 0, 1);
  const auto upstream = random_buffer<T>(p.pixels() * p.cells() * channels, -1, 1);
  Buffer<T> out[] = {unwritten<T>(upstream.n), unwritten<T>(upstream.n)};
  Buffer<T> gx[] = {unwritten<T>(x.n), unwritten<T>(x.n)};
  Buffer<float> go[] = {unwritten<float>(offsets.n), unwritten<float>(offsets.n)};
  Buffer<float> gm[] = {unwritten<float>(mask.n), unwritten<float>(mask.n)};
  for (int k = 0; k < 2; ++k) {
    const ParallelFor parallel = threads(k ? 4 : 1);
    kdet::deform_conv::columns_forward(p, x.get(), offsets.get(), mask.get(), out[k].get(), parallel);
    kdet::deform_conv::columns_backward(p, x.get(), offsets.get(), mask.get(), upstream.get(), gx[k].get(),
                                        go[k].get(), gm[k].get(), parallel);
  }
  same(name, out[0], out[1], 0);
  same(name, gx[0], gx[1], 0);
  same(name, go[0], go[1], 0);
  same(name, gm[0], gm[1], 0);
  const double forward = inner(upstream, out[0]), rounding = rounding_of_inner(upstream, out[0]);
  adjoint(name, forward, inner(gx[0], x), tolerance, rounding);
  adjoint(name, forward, inner(gm[0], mask), tolerance, rounding);
  // A column is linear in the offset along y too, between two rows: with the offsets' gradient against the difference.
  Buffer<float> moved(offsets.n);
  double expected = 0;
  for (int64_t i = 0; i < offsets.n; ++i) {
    const bool between = i % 2 == 0 && std::abs(offsets.at[i] - std::floor(offsets.at[i]) - 0.5f) < 0.4f;
    moved.get()[i] = offsets.at[i] + (between ? 0.0625f : 0.0f);
    if (between) expected += 0.0625 * go[0].at[i];
  }
  Buffer<T> then(out[0].n);
  kdet::deform_conv::columns_forward(p, x.get(), moved.get(), mask.get(), then.get(), kdet::serial());
  adjoint(name, inner(upstream, then) - forward, expected, tolerance, 2 * rounding);
}

template <typename T, typename P>
void check_attention(const char* name, float tolerance, int heads) {
  const kdet::MsDeformAttn p = {2, 54, 9, heads, 5, 2, 4, {6, 3}, {7, 4}, {0, 42}};
  const auto value = random_buffer<T>(2 * 54 * heads * 5, -1, 1);
  const auto locations = random_buffer<P>(2 * 9 * heads * 8 * 2, -0.3f, 1.3f);
  const auto weights = random_buffer<P>(2 * 9 * heads * 8, 0, 1);
  const auto upstream = random_buffer<T>(2 * 9 * heads * 5, -1, 1);
  Buffer<T> out[] = {Buffer<T>(upstream.n), Buffer<T>(upstream.n)};
  Buffer<T> gv[] = {unwritten<T>(value.n), unwritten<T>(value.n)};
  for (int k = 0; k < 2; ++k) {
    const ParallelFor parallel = threads(k ? 4 : 1);
    const auto for_locations = unwritten<P>(locations.n), for_weights = unwritten<P>(weights.n);
    kdet::ms_deform_attn_forward(p, value.get(), locations.get(), weights.get(), out[k].get(), parallel);
    kdet::ms_deform_attn_backward(p, value.get(), locations.get(), weights.get(), upstream.get(), gv[k].get(),
                                  for_locations.get(), for_weights.get(), parallel);
    adjoint(name, inner(upstream, out[k]), inner(for_weights, weights), tolerance);
  }
  same(name, out[0], out[1], 0);
  same(name, gv[0], gv[1], 0);
  adjoint(name, inner(upstream, out[0]), inner(gv[0], value), tolerance);
}

template <typename T>
void check_carafe(const char* name, float tolerance) {
  const kdet::Carafe p = {2, 4, 5, 6, 3, 2, 2};
  const auto features = random_buffer<T>(2 * 20 * 6, -1, 1), masks = random_buffer<T>(2 * 80 * 18, 0, 1);
  const auto upstream = random_buffer<T>(2 * 80 * 6, -1, 1);
  Buffer<T> out[] = {Buffer<T>(upstream.n), Buffer<T>(upstream.n)};
  Buffer<T> gf[] = {Buffer<T>(features.n), Buffer<T>(features.n)}, gm[] = {Buffer<T>(masks.n), Buffer<T>(masks.n)};
  for (int k = 0; k < 2; ++k) {
    const ParallelFor parallel = threads(k ? 4 : 1);
    kdet::carafe::forward(p, features.get(), masks.get(), out[k].get(), parallel);
    kdet::carafe::backward(p, features.get(), masks.get(), upstream.get(), gf[k].get(), gm[k].get(), parallel);
  }
  same(name, out[0], out[1], 0);
  same(name, gf[0], gf[1], 0);
  adjoint(name, inner(upstream, out[0]), inner(gf[0], features), tolerance);
  adjoint(name, inner(upstream, out[0]), inner(gm[0], masks), tolerance);
}

template <typename T>
void check_corner_pool(const char* name, float tolerance) {
  for (int k = 0; k < 4; ++k) {
    const kdet::CornerPool p = {2, 6, 7, 5, k < 2, k % 2 == 0};
    const auto x = random_buffer<T>(2 * 42 * 5, -1, 1), upstream = random_buffer<T>(x.n, -1, 1);
    Buffer<T> out[] = {Buffer<T>(x.n), Buffer<T>(x.n)};
    Buffer<T> gx[] = {unwritten<T>(x.n), unwritten<T>(x.n)};
    for (int t = 0; t < 2; ++t) {
      kdet::corner_pool_forward(p, x.get(), out[t].get(), threads(t ? 4 : 1));
      kdet::corner_pool_backward(p, x.get(), upstream.get(), gx[t].get(), threads(t ? 4 : 1));
    }
    same(name, out[0], out[1], 0);
    same(name, gx[0], gx[1], 0);
    adjoint(name, inner(upstream, out[0]), inner(gx[0], x), tolerance);
  }
}

// The norm is linear in gamma and beta; the sums do not depend on the threads, to the last bit.
template <typename T>
void check_batch_norm(const char* name, float tolerance, int64_t cells, int channels) {
  const kdet::BatchNorm p = {5, cells, channels, 1e-5f};
  const auto x = random_buffer<T>(p.rows() * channels, -1, 3), upstream = random_buffer<T>(x.n, -1, 1);
  const auto gamma = random_buffer<float>(channels, 1, 2), beta = random_buffer<float>(channels, -1, 1);
  auto counted = random_buffer<float>(5, 0, 1);
  counted.get()[2] = 0;
  for (const float* rows : {(const float*)nullptr, (const float*)counted.get()}) {
    Buffer<T> y[] = {Buffer<T>(x.n), Buffer<T>(x.n)}, gx[] = {Buffer<T>(x.n), Buffer<T>(x.n)};
    Buffer<float> mean(channels), variance(channels), inverse(channels), gg(channels), gb(channels);
    for (int k = 0; k < 2; ++k) {
      Buffer<double> sums(p.sums());
      kdet::batch_norm::forward(p, x.get(), rows, gamma.get(), beta.get(), sums.get(), y[k].get(), mean.get(),
                                variance.get(), inverse.get(), threads(k ? 4 : 1));
      kdet::batch_norm::backward(p, x.get(), upstream.get(), rows, gamma.get(), mean.get(), inverse.get(),
                                 sums.get(), gx[k].get(), gg.get(), gb.get(), threads(k ? 4 : 1));
    }
    same(name, y[0], y[1], 0);
    same(name, gx[0], gx[1], 0);
    adjoint(name, inner(upstream, y[0]), inner(gg, gamma) + inner(gb, beta), tolerance);
  }
}

// Forwards against the sum written out, backwards by what is linear.
template <typename T>
void check_grouped_conv(const char* name, float tolerance, int width, int stride, int dilation, int columns = 9,
                        int groups = 3) {
  const int channels = groups * width, out_rows = 9 / stride, out_columns = columns / stride;
  const int64_t pixels = 2 * out_rows * out_columns;
  const kdet::GroupedConv p = {2, 9, columns, channels, out_rows, out_columns, 3, 3, stride, stride,
                               dilation, dilation, dilation, dilation, groups};
  const auto x = random_buffer<T>(18 * columns * channels, -1, 1), up = random_buffer<T>(pixels * channels, -1, 1);
  const auto kernel = random_buffer<float>(9 * width * channels, -1, 1);
  Buffer<T> gx[] = {Buffer<T>(x.n), Buffer<T>(x.n)};
  Buffer<float> gk[] = {Buffer<float>(kernel.n), Buffer<float>(kernel.n)};
  Buffer<T> found[] = {Buffer<T>(up.n), Buffer<T>(up.n)};
  for (int k = 0; k < 2; ++k) {
    kdet::grouped_conv::forward(p, x.get(), kernel.get(), found[k].get(), threads(k ? 4 : 1));
    kdet::grouped_conv::backward(p, x.get(), kernel.get(), up.get(), gx[k].get(), gk[k].get(), threads(k ? 4 : 1));
  }
  double forward = 0;
  for (int64_t at = 0; at < pixels; ++at) {
    for (int k = 0; k < 9 * width; ++k) {
      const int cell = k / width, y = int(at / out_columns % out_rows) * stride + (cell / 3 - 1) * dilation;
      const int column = int(at % out_columns) * stride + (cell % 3 - 1) * dilation;
      if (y < 0 || y >= 9 || column < 0 || column >= columns) continue;
      for (int c = 0; c < channels; ++c) {
        const int64_t image = at / out_columns / out_rows;
        const int64_t from = ((image * 9 + y) * columns + column) * channels + c / width * width + k % width;
        forward += double(kdet::to_float(x.at[from])) * kernel.at[k * channels + c] *
                   kdet::to_float(up.at[at * channels + c]);
      }
    }
  }
  same(name, gx[0], gx[1], 0);
  same(name, gk[0], gk[1], 0);
  same(name, found[0], found[1], 0);
  adjoint(name, forward, inner(found[0], up), tolerance, rounding_of_inner(found[0], up));
  adjoint(name, forward, inner(gx[0], x), tolerance, rounding_of_inner(gx[0], x));
  adjoint(name, forward, inner(gk[0], kernel), tolerance);
}

template <typename T>
void check_masked_conv(const char* name, float tolerance, float share) {
  const kdet::MaskedConv p = {2, 9, 11, 20, 5, 6, 7, 3, 3, 2, 2, 1, 1};
  const auto x = random_buffer<T>(2 * 99 * 20, -1, 1), upstream = random_buffer<T>(p.pixels() * 7, -1, 1);
  const auto kernel = random_buffer<T>(9 * 20 * 7, -1, 1);
  const auto weights = floats(kernel), marks = random_buffer<float>(p.pixels(), 0, 1);
  const Buffer<float> bias(7);
  Buffer<bool> mask(p.pixels());
  for (int64_t i = 0; i < mask.n; ++i) mask.get()[i] = marks.at[i] < share;
  Buffer<T> out[] = {Buffer<T>(upstream.n), Buffer<T>(upstream.n)};
  Buffer<T> gx[] = {unwritten<T>(x.n), unwritten<T>(x.n)};
  Buffer<T> gk[] = {unwritten<T>(kernel.n), unwritten<T>(kernel.n)}, gb = unwritten<T>(7);
  for (int k = 0; k < 2; ++k) {
    const ParallelFor parallel = threads(k ? 4 : 1);
    kdet::masked_conv::forward(p, x.get(), mask.get(), weights.get(), bias.get(), out[k].get(), parallel);
    kdet::masked_conv::backward(p, x.get(), mask.get(), kernel.get(), upstream.get(), gx[k].get(), gk[k].get(),
                                gb.get(), parallel);
  }
  same(name, out[0], out[1], 0);
  same(name, gx[0], gx[1], tolerance);
  adjoint(name, inner(upstream, out[0]), inner(gx[0], x), tolerance);
  adjoint(name, inner(upstream, out[0]), inner(gk[0], kernel), tolerance);
}

void check_conv3x3() {
  const kdet::Conv3x3 p = {2, 7, 9, 32, 40};
  const auto x = random_buffer<float>(2 * 63 * 32, -1, 1), kernel = random_buffer<float>(9 * 32 * 40, -0.1f, 0.1f);
  const auto bias = random_buffer<float>(40, -1, 1);
  Buffer<float> packed(kdet::conv3x3_packed_size(p)), direct(2 * 63 * 40);
  Buffer<float> out[] = {Buffer<float>(2 * 63 * 40), Buffer<float>(2 * 63 * 40)};
  for (int k = 0; k < 2; ++k) {
    kdet::conv3x3_pack(p, kernel.get(), packed.get(), threads(k ? 4 : 1));
    kdet::conv3x3_forward(p, x.get(), packed.get(), bias.get(), true, out[k].get(), threads(k ? 4 : 1));
  }
  same("conv3x3", out[0], out[1], 0);
  for (int64_t i = 0; i < direct.n; ++i) {
    const int n = i % 40, column = i / 40 % 9, row = i / 360 % 7, image = i / 2520;
    float sum = bias.get()[n];
    for (int cell = 0; cell < 9; ++cell) {
      const int from_y = row + cell / 3 - 1, from_x = column + cell % 3 - 1;
      if (from_y < 0 || from_y >= 7 || from_x < 0 || from_x >= 9) continue;
      const float* pixel = x.get() + ((image * 7 + from_y) * 9 + from_x) * 32;
      for (int c = 0; c < 32; ++c) sum += pixel[c] * kernel.get()[(cell * 32 + c) * 40 + n];
    }
    direct.get()[i] = std::max(sum, 0.0f);
  }
  same("conv3x3, direct sum", direct, out[0], 1e-4f);
}

template <typename T>
void check_all(const char* type, float tolerance) {
  std::printf("%s\n", type);
  for (int ratio : {0, 2}) {
    check_roi<T>("roi_align", tolerance, true, ratio);
    check_roi<T>("roi_align, legacy", tolerance, false, ratio);
  }
  check_deform_conv<T>("deform_conv", tolerance, 1, 1);
  check_deform_conv<T>("deform_conv, groups", tolerance, 2, 4);
  check_deform_conv<T>("deform_conv, more groups than parts", tolerance, 4, 2);
  check_deform_conv<T>("deform_conv, many channels", tolerance, 1, 2, 72);
  check_deform_conv<T>("deform_conv, more channels than are gathered", tolerance, 1, 2, 312);
  check_deform_conv<T>("deform_conv, more channels than are gathered, groups", tolerance, 2, 3, 600);
  check_deform_columns<T>("deform_columns", tolerance, 1, 1, 8);
  check_deform_columns<T>("deform_columns, groups", tolerance, 2, 3, 72);
  check_deform_columns<T>("deform_columns, more groups than parts", tolerance, 4, 2, 8);
  check_attention<T, float>("ms_deform_attn", tolerance, 3);
  check_attention<T, float>("ms_deform_attn, fewer heads than threads", tolerance, 1);
  check_attention<T, T>("ms_deform_attn, places of the value's type", tolerance, 3);
  check_carafe<T>("carafe", tolerance);
  check_corner_pool<T>("corner_pool", tolerance);
  check_batch_norm<T>("batch_norm", tolerance, 700, 19);
  check_batch_norm<T>("batch_norm, no map", tolerance, 1, 64);
  for (float share : {0.0f, 0.3f, 1.0f}) check_masked_conv<T>("masked_conv", tolerance, share);
  check_paste<T>(tolerance);
  check_grouped_conv<T>("grouped_conv", tolerance, 4, 1, 1);
  check_grouped_conv<T>("grouped_conv, an odd number of groups", tolerance, 8, 1, 1);
  check_grouped_conv<T>("grouped_conv, strided", tolerance, 8, 3, 1);
  check_grouped_conv<T>("grouped_conv, dilated", tolerance, 16, 1, 2);
  check_grouped_conv<T>("grouped_conv, groups of two vectors", tolerance, 32, 3, 2);
  check_grouped_conv<T>("grouped_conv by Winograd, four groups in a vector", tolerance, 4, 1, 1, 7, 8);
  check_grouped_conv<T>("grouped_conv by Winograd, two groups in a vector", tolerance, 8, 1, 1, 53, 6);
  check_grouped_conv<T>("grouped_conv by Winograd", tolerance, 16, 1, 1, 51);
  check_grouped_conv<T>("grouped_conv by Winograd, groups of two vectors", tolerance, 32, 1, 1);
  check_grouped_conv<T>("grouped_conv by Winograd, groups of four vectors", tolerance, 64, 1, 1, 6);
}

// Every float16 and bfloat16 number survives the way through float32.
void check_conversions() {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    Half half;
    BFloat16 brain;
    kdet::from_float(kdet::to_float(Half{uint16_t(bits)}), &half);
    kdet::from_float(kdet::to_float(BFloat16{uint16_t(bits)}), &brain);
    const bool half_nan = (bits & 0x7fff) > 0x7c00, brain_nan = (bits & 0x7fff) > 0x7f80;
    if ((!half_nan && half.bits != bits) || (!brain_nan && brain.bits != bits)) {
      std::printf("FAILED conversion of %04x\n", bits);
      ++failures;
      return;
    }
  }
}

// Rows are converted as single numbers are, whatever the processor has for rows.
template <typename T>
void check_rows(const char* name) {
  Buffer<T> row(65533), back(row.n);
  Buffer<float> converted(row.n);
  for (int64_t i = 0; i < row.n; ++i) row.get()[i].bits = uint16_t(i);
  kdet::as_floats(row.get(), row.n, converted.get());
  kdet::store_floats(converted.get(), row.n, back.get());
  for (int64_t i = 0; i < row.n; ++i) {
    T expected;
    kdet::from_float(kdet::to_float(row.at[i]), &expected);
    if (kdet::float_to_bits(converted.at[i]) == kdet::float_to_bits(kdet::to_float(row.at[i])) &&
        back.at[i].bits == expected.bits) {
      continue;
    }
    std::printf("FAILED conversion of a row of %s at %04x\n", name, unsigned(i));
    ++failures;
    return;
  }
}

}  // namespace

int main() {
  check_conversions();
  check_rows<Half>("float16");
  check_rows<BFloat16>("bfloat16");
  check_all<float>("float32", 1e-4f);
  check_all<Half>("float16", 2e-2f);
  check_all<BFloat16>("bfloat16", 1e-1f);
  check_suppression();
  check_large_suppression();
  check_crop();
  check_polygons();
  check_conv3x3();
  std::printf(failures ? "%d FAILED\n" : "all kernels agree\n", failures);
  return failures != 0;
}
