// Checks every CUDA kernel against its CPU twin on random inputs. Needs nvcc and a GPU, nothing else:
//   nvcc -std=c++17 -O2 -arch=native -Xcompiler -fopenmp-simd -Icustom_ops -I<folder of Eigen> \
//     custom_ops/*/*.cu -o cuda_kernels && ./cuda_kernels
// (Eigen is needed by the CPU twin of one convolution only.) tests/ops/test_cuda_kernels.py runs the same
// without a GPU, on an emulation of CUDA's threads.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "batch_norm/batch_norm_cpu.h"
#include "batch_norm/batch_norm_cuda.h"
#include "carafe/carafe_cpu.h"
#include "carafe/carafe_cuda.h"
#include "corner_pool/corner_pool_cpu.h"
#include "corner_pool/corner_pool_cuda.h"
#include "crop_masks/crop_masks_cpu.h"
#include "crop_masks/crop_masks_cuda.h"
#include "deform_conv/deform_conv_cpu.h"
#include "deform_conv/deform_conv_cuda.h"
#include "deform_roi_pool/deform_roi_pool_cpu.h"
#include "fast_nms/fast_nms_cpu.h"
#include "fast_nms/fast_nms_cuda.h"
#include "ms_deform_attn/ms_deform_attn_cpu.h"
#include "ms_deform_attn/ms_deform_attn_cuda.h"
#include "nms/nms_cpu.h"
#include "nms/nms_cuda.h"
#include "paste_masks/paste_masks_cpu.h"
#include "paste_masks/paste_masks_cuda.h"
#include "polygons/polygons_cpu.h"
#include "polygons/polygons_cuda.h"
#include "roi_align/roi_align_cpu.h"
#include "roi_align/roi_align_cuda.h"
#include "tests/cuda_checks.h"

// common/round.cu
extern "C" cudaError_t kdet_cuda_round(const float* from, int type, void* to, int64_t count, cudaStream_t stream);

namespace {

using namespace kdet::checks;  // NOLINT

// P, place_type: of locations and weights.
template <typename T, typename P>
void check_attention(int type, int place_type, float tolerance) {
  const kdet::MsDeformAttn p = {2, 54, 9, 3, 5, 2, 4, {6, 3}, {7, 4}, {0, 42}};
  Both<T> value(numbers<T>(2 * 54 * 15, -1, 1)), up(numbers<T>(2 * 9 * 15, -1, 1)), out(up.host.size());
  Both<P> where(numbers<P>(2 * 9 * 3 * 8 * 2, -0.3f, 1.3f)), weight(numbers<P>(2 * 9 * 3 * 8, 0, 1));
  Gradient<T> gv(value.host.size());
  Gradient<P> gl(where.host.size()), gw(weight.host.size());
  require(kdet_cuda_ms_deform_attn(&p, type, value.device, place_type, where.device, weight.device, out.device,
                                   nullptr),
          "ms_deform_attn");
  require(kdet_cuda_ms_deform_attn_grad(&p, type, value.device, place_type, where.device, weight.device, up.device,
                                        gv.device, gl.device, gw.device, nullptr),
          "ms_deform_attn_grad");
  kdet::ms_deform_attn_forward(p, value.host.data(), where.host.data(), weight.host.data(), out.host.data(),
                               kdet::serial());
  kdet::ms_deform_attn_backward(p, value.host.data(), where.host.data(), weight.host.data(), up.host.data(),
                                gv.written.data(), gl.written.data(), gw.written.data(), kdet::serial());
  compare("ms_deform_attn", out, tolerance);
  compare("  gradient, value", gv, tolerance);
  compare("  gradient, locations", gl, tolerance);
  compare("  gradient, weights", gw, tolerance);
}

template <typename T>
void check_deform_columns(int type, float tolerance, int channels, int groups, int parts) {
  const kdet::DeformConv p = {2, 9, 11, channels, 5, 6, 0, 3, 3, 2, 2, 2, 2, 2, 2, groups, parts};
  const int64_t rows = p.pixels() * p.cells();
  Both<T> x(numbers<T>(2 * 9 * 11 * channels, -1, 1)), up(numbers<T>(rows * channels, -1, 1)), out(up.host.size());
  std::vector<float> shifts = numbers<float>(p.samples() * 2, -3, 3);
  for (size_t i = 0; i < shifts.size(); i += 7) shifts[i] = std::round(shifts[i]);
  shifts[0] = 1e30f;
  shifts[1] = -1e30f;
  Both<float> offsets(shifts), mask(numbers<float>(p.samples(), 0, 1));
  Gradient<T> gx(x.host.size());
  Both<float> go(offsets.host.size()), gm(mask.host.size());
  require(kdet_cuda_deform_columns(&p, type, x.device, offsets.device, mask.device, out.device, nullptr),
          "deform_columns");
  require(kdet_cuda_deform_columns_grad(&p, type, x.device, offsets.device, mask.device, up.device, gx.device,
                                        go.device, gm.device, nullptr),
          "deform_columns_grad");
  kdet::deform_conv::columns_forward(p, x.host.data(), offsets.host.data(), mask.host.data(), out.host.data(),
                                     kdet::serial());
  kdet::deform_conv::columns_backward(p, x.host.data(), offsets.host.data(), mask.host.data(), up.host.data(),
                                      gx.written.data(), go.host.data(), gm.host.data(), kdet::serial());
  compare("deform_columns", out, tolerance);
  compare("  gradient, x", gx, tolerance);
  compare("  gradient, offsets", go, tolerance);
  compare("  gradient, mask", gm, tolerance);
}

template <typename T>
void check_batch_norm(int type, const kdet::BatchNorm& p, bool some, float tolerance) {
  const size_t size = p.rows() * p.channels, channels = p.channels;
  Both<T> x(numbers<T>(size, -1, 3)), up(numbers<T>(size, -1, 1)), y(size), gx(size);
  Both<float> counted(std::vector<float>{1, 0, 1, 0, 1}), gamma(numbers<float>(channels, 1, 2));
  Both<float> beta(numbers<float>(channels, -1, 1)), mean(channels), variance(channels), inverse(channels);
  Both<float> gg(channels), gb(channels), lines(std::vector<float>(3 * channels, NAN));
  Both<double> sums(std::vector<double>(kdet_cuda_batch_norm_sums(&p), NAN));
  std::vector<double> host_sums(p.sums());
  const float *device_rows = some ? counted.device : nullptr, *rows = some ? counted.host.data() : nullptr;
  require(kdet_cuda_batch_norm(&p, type, x.device, device_rows, gamma.device, beta.device, sums.device,
                               lines.device, y.device, mean.device, variance.device, inverse.device, nullptr),
          "batch_norm");
  require(kdet_cuda_batch_norm_grad(&p, type, x.device, up.device, device_rows, gamma.device, mean.device,
                                    inverse.device, sums.device, lines.device, gx.device, gg.device, gb.device,
                                    nullptr),
          "batch_norm_grad");
  kdet::batch_norm::forward(p, x.host.data(), rows, gamma.host.data(), beta.host.data(), host_sums.data(),
                            y.host.data(), mean.host.data(), variance.host.data(), inverse.host.data(),
                            kdet::serial());
  kdet::batch_norm::backward(p, x.host.data(), up.host.data(), rows, gamma.host.data(), mean.host.data(),
                             inverse.host.data(), host_sums.data(), gx.host.data(), gg.host.data(), gb.host.data(),
                             kdet::serial());
  compare("batch_norm", y, tolerance);
  compare("  mean", mean, 1e-6f);
  compare("  variance", variance, 1e-6f);
  compare("  gradient, x", gx, tolerance);
  compare("  gradient, gamma", gg, 1e-5f);
  compare("  gradient, beta", gb, 1e-5f);
}

template <typename T>
void check_types(int type, float tolerance) {
  const kdet::ParallelFor serial = kdet::serial();
  for (bool aligned : {true, false}) {
    for (int ratio : {0, 2}) {
      const kdet::RoiAlign p = {2, {13, 7}, {17, 9}, {0.25f, 0.125f}, 2, 11, 19, 3, 2, ratio, aligned};
      Both<T> a(numbers<T>(2 * 13 * 17 * 19, -1, 1)), b(numbers<T>(2 * 7 * 9 * 19, -1, 1));
      Both<float> box(boxes(22, 60)), offsets(numbers<float>(22 * 12, -1, 1));
      Both<int> levels(whole(22, 0, 1));
      Both<T> up(numbers<T>(22 * 6 * 19, -1, 1)), out(up.host.size());
      Gradient<T> ga(a.host.size()), gb(b.host.size());
      Both<float> go(offsets.host.size());
      const T* host[] = {a.host.data(), b.host.data()};
      const void* device[] = {a.device, b.device};
      T* host_gradients[] = {ga.written.data(), gb.written.data()};
      float* device_gradients[] = {ga.device, gb.device};
      const bool moved = aligned && ratio == 2;
      const float* shift = moved ? offsets.device : nullptr;
      require(kdet_cuda_roi_align(&p, type, device, box.device, levels.device, shift, 0.1f, out.device, nullptr),
              "roi_align");
      require(kdet_cuda_roi_align_grad(&p, type, up.device, device, box.device, levels.device, shift, 0.1f,
                                       device_gradients, moved ? go.device : nullptr, nullptr),
              "roi_align_grad");
      if (moved) {
        kdet::deform_roi_pool_forward(p, 0.1f, host, box.host.data(), levels.host.data(), offsets.host.data(),
                                      out.host.data(), serial);
        kdet::deform_roi_pool_backward(p, 0.1f, host, box.host.data(), levels.host.data(), offsets.host.data(),
                                       up.host.data(), host_gradients, go.host.data(), serial);
        compare("deform_roi_pool offsets", go, tolerance);
      } else {
        kdet::roi_align_forward(p, host, box.host.data(), levels.host.data(), out.host.data(), serial);
        kdet::roi_align_backward(p, up.host.data(), box.host.data(), levels.host.data(), host_gradients, serial);
      }
      compare(moved ? "deform_roi_pool" : "roi_align", out, tolerance);
      compare("  gradient, level 0", ga, tolerance);
      compare("  gradient, level 1", gb, tolerance);
    }
  }
  check_attention<T, T>(type, type, tolerance);
  check_attention<T, float>(type, kdet::kFloat, tolerance);
  {
    const kdet::Carafe p = {2, 4, 5, 6, 3, 2, 2};
    Both<T> x(numbers<T>(2 * 20 * 6, -1, 1)), mask(numbers<T>(2 * 80 * 18, 0, 1)), up(numbers<T>(960, -1, 1));
    Both<T> out(960), gx(x.host.size()), gm(mask.host.size());
    require(kdet_cuda_carafe(&p, type, x.device, mask.device, out.device, nullptr), "carafe");
    require(kdet_cuda_carafe_grad(&p, type, x.device, mask.device, up.device, gx.device, gm.device, nullptr),
            "carafe_grad");
    kdet::carafe::forward(p, x.host.data(), mask.host.data(), out.host.data(), serial);
    kdet::carafe::backward(p, x.host.data(), mask.host.data(), up.host.data(), gx.host.data(), gm.host.data(),
                           serial);
    compare("carafe", out, tolerance);
    compare("  gradient, features", gx, tolerance);
    compare("  gradient, masks", gm, tolerance);
  }
  for (int k = 0; k < 4; ++k) {
    const kdet::CornerPool p = {2, 6, 7, 5, k < 2, k % 2 == 0};
    Both<T> x(numbers<T>(420, -1, 1)), up(numbers<T>(420, -1, 1)), out(420);
    Gradient<T> gx(420);
    require(kdet_cuda_corner_pool(&p, type, x.device, out.device, nullptr), "corner_pool");
    require(kdet_cuda_corner_pool_grad(&p, type, x.device, up.device, gx.device, nullptr), "corner_pool_grad");
    kdet::corner_pool_forward(p, x.host.data(), out.host.data(), serial);
    kdet::corner_pool_backward(p, x.host.data(), up.host.data(), gx.written.data(), serial);
    compare("corner_pool", out, 0);
    compare("  gradient", gx, tolerance);
  }
  for (bool some : {false, true}) {
    check_batch_norm<T>(type, {5, 700, 19, 1e-5f}, some, tolerance);
    check_batch_norm<T>(type, {5, 3, 20, 1e-5f}, some, tolerance);     // fewer rows than a block takes at a time
    check_batch_norm<T>(type, {5, 1, 70, 1e-5f}, some, tolerance);     // more channels than a block has, one by one
    check_batch_norm<T>(type, {5, 120, 260, 1e-5f}, some, tolerance);  // by fours
    check_batch_norm<T>(type, {5, 9000, 4, 1e-5f}, some, tolerance);   // many parts
  }
  // Vectors, vectors that two lots of lanes share, channels one by one in many lanes, in few, and within a group of a
  // multiple of four.
  check_deform_columns<T>(type, tolerance, 8, 1, 1);
  check_deform_columns<T>(type, tolerance, 192, 2, 1);
  check_deform_columns<T>(type, tolerance, 45, 1, 1);
  check_deform_columns<T>(type, tolerance, 6, 2, 3);
  check_deform_columns<T>(type, tolerance, 12, 3, 6);
  check_deform_columns<T>(type, tolerance, 16, 4, 2);
  check_deform_columns<T>(type, tolerance, 24, 2, 6);
  {
    const kdet::PasteMasks p = {20, 5, 7, 33, 41, 0.5f};
    Both<float> box(boxes(20, 40)), out(20 * 33 * 41);
    Both<T> masks(numbers<T>(20 * 35, 0, 1));
    Both<uint8_t> binary(out.host.size());
    require(kdet_cuda_paste_masks(&p, type, masks.device, box.device, false, out.device, nullptr), "paste_masks");
    require(kdet_cuda_paste_masks(&p, type, masks.device, box.device, true, binary.device, nullptr), "paste_masks");
    kdet::paste_masks(p, masks.host.data(), box.host.data(), out.host.data(), serial);
    kdet::paste_masks(p, masks.host.data(), box.host.data(), (bool*)binary.host.data(), serial);
    compare("paste_masks", out, tolerance);
    compare("paste_masks, binary", binary, 0);
  }
  {
    Both<float> from(numbers<float>(1000, -1, 1));
    Both<T> to(1000);
    require(kdet_cuda_round(from.device, type, to.device, 1000, nullptr), "round");
    kdet::store_floats(from.host.data(), 1000, to.host.data());
    compare("round", to, 0);
  }
}

// Boxes whose IoU comes out the same whichever sums are fused: of whole numbers it is rounded once, by the division.
std::vector<float> whole_boxes(size_t n, float size) {
  std::vector<float> values = boxes(n, size);
  for (float& value : values) value = std::floor(value);
  return values;
}

// Many of them are equal, 0 among them with either sign, and some are NaN.
std::vector<float> coarse_scores(size_t n) {
  std::vector<float> values(n);
  for (float& value : values) value = float(int(generator() % 400) - 200) / 200 * (generator() % 2 ? 1 : -1);
  for (size_t i = 0; i < n; i += 7) values[i] = NAN;
  return values;
}

void check_nms(const kdet::Nms& p, int most_label, bool coarse) {
  const size_t size = p.batch * p.boxes;
  Both<float> box(coarse ? whole_boxes(size, 500) : boxes(size, 100)), scratch(std::vector<float>(4 * size, NAN));
  Both<float> score(coarse ? coarse_scores(size) : numbers<float>(size, 0, 1));
  Both<int> label(whole(size, 0, most_label)), places(std::vector<int>(3 * size, -1));
  Both<int> indices(std::vector<int>(p.batch * p.max_output, -1)), counts(std::vector<int>(p.batch, -1));
  require(kdet_cuda_nms(&p, box.device, score.device, label.device, places.device, scratch.device, indices.device,
                        counts.device, nullptr),
          "nms");
  kdet::nms(p, box.host.data(), score.host.data(), label.host.data(), false, indices.host.data(), counts.host.data(),
            kdet::serial());
  compare("nms", indices, 0);
  compare("  counts", counts, 0);
}

void check_fast_nms(const kdet::FastNms& p, bool coarse) {
  const size_t size = p.batch * p.boxes, places = p.batch * p.classes * p.top_k, rows = p.batch * p.max_output;
  Both<float> box(coarse ? whole_boxes(size, 500) : boxes(size, 100));
  Both<float> score(coarse ? coarse_scores(size * p.classes) : numbers<float>(size * p.classes, 0, 1));
  Both<float> left(std::vector<float>(places, NAN)), kept(std::vector<float>(rows, NAN));
  Both<int> found(std::vector<int>(places, -1)), chosen(std::vector<int>(places, -1));
  Both<int> indices(std::vector<int>(rows, -1)), labels(std::vector<int>(rows, -1));
  Both<int> counts(std::vector<int>(p.batch, -1));
  require(kdet_cuda_fast_nms(&p, box.device, score.device, found.device, chosen.device, left.device, indices.device,
                             labels.device, kept.device, counts.device, nullptr),
          "fast_nms");
  kdet::fast_nms(p, box.host.data(), score.host.data(), indices.host.data(), labels.host.data(), kept.host.data(),
                 counts.host.data(), kdet::serial());
  compare("fast_nms", indices, 0);
  compare("  labels", labels, 0);
  compare("  scores", kept, 0);
  compare("  counts", counts, 0);
}

void check_suppression() {
  check_nms({3, 200, 50, 0.5f, 0.1f}, 3, false);
  check_nms({3, 1500, 1600, 0.6f, -INFINITY}, 0, true);  // one class of many tiles
  check_nms({3, 1500, 20, 0.6f, -0.5f}, 1, true);
  check_nms({1, 1500, 1500, 0.6f, 0.0f}, 79, true);
  check_nms({1, 256, 300, 0.5f, -2.0f}, 0, false);  // just a tile
  check_nms({2, 300, 10, 0.5f, 2.0f}, 3, true);     // no candidates
  check_nms({2, 0, 10, 0.5f, 0.0f}, 3, false);
  check_nms({2, 10, 0, 0.5f, 0.0f}, 3, false);
  for (float threshold : {0.2f, 0.95f, 2.0f}) check_fast_nms({3, 200, 5, 40, 50, 0.5f, threshold}, false);
  check_fast_nms({1, 2500, 2, 1300, 1400, 0.6f, -INFINITY}, true);  // sorts more than a tile
  check_fast_nms({2, 1500, 2, 100, 130, 0.6f, 0.0f}, true);
  check_fast_nms({1, 1500, 2, 1500, 4000, 0.6f, 0.5f}, true);  // room for all
  check_fast_nms({2, 0, 3, 0, 10, 0.5f, 0.0f}, false);
  check_fast_nms({2, 10, 3, 10, 0, 0.5f, 0.0f}, false);
  Both<float> box(boxes(600, 100)), score(numbers<float>(600, 0, 1)), live(600), kept(150);
  Both<int> indices(150), counts(3);
  for (bool gaussian : {false, true}) {
    const kdet::SoftNms q = {3, 200, 50, 0.3f, 0.5f, 0.3f, gaussian};
    require(kdet_cuda_soft_nms(&q, box.device, score.device, live.device, indices.device, kept.device, counts.device,
                               nullptr),
            "soft_nms");
    kdet::soft_nms(q, box.host.data(), score.host.data(), indices.host.data(), kept.host.data(), counts.host.data(),
                   kdet::serial());
    compare("soft_nms", indices, 0);
    compare("  scores", kept, 1e-6f);
    compare("  counts", counts, 0);
  }
}

void check_polygons() {
  const kdet::Polygons p = {4, 30, 43};
  Both<int> polygons(std::vector<int>{0, 4, 14, 16, 16, 46, 50}), objects(std::vector<int>{0, 1, 4, 5, 6});
  std::vector<double> values(100);
  for (double& value : values) value = std::uniform_int_distribution<int>(-200, 600)(generator) / 10.0;
  Both<double> points(values);
  Both<uint8_t> out(4 * 30 * p.row_bytes());
  require(kdet_cuda_rasterize_polygons(&p, points.device, polygons.device, objects.device, out.device, nullptr),
          "polygons");
  kdet::rasterize_polygons(p, points.host.data(), polygons.host.data(), objects.host.data(), out.host.data(),
                           kdet::serial());
  compare("polygons", out, 0);
}

void check_crop() {
  const kdet::CropMasks p = {2, 3, 20, 37, 6, 7, 5};
  Both<uint8_t> masks(bytes(2 * 3 * 37 * 6, 256));
  Both<float> box(boxes(40, 40)), out(40 * 35);
  Both<int> index(whole(40, -1, 2));
  require(kdet_cuda_crop_masks(&p, masks.device, box.device, index.device, out.device, nullptr), "crop_masks");
  kdet::crop_masks(p, masks.host.data(), box.host.data(), index.host.data(), out.host.data(), kdet::serial());
  compare("crop_masks", out, 0);
}

}  // namespace

int main() {
  check_types<float>(0, 1e-5f);
  check_types<kdet::Half>(1, 4e-3f);
  check_types<kdet::BFloat16>(2, 3e-2f);
  check_suppression();
  check_crop();
  check_polygons();
  std::printf(failures ? "%d FAILED\n" : "all CUDA kernels agree with the CPU\n", failures);
  return failures != 0;
}
