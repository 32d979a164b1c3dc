// Fast NMS on CUDA: one block per class finds and thins out its best candidates, then one per image finds the best
// of what is left.
#include "common/select_best.h"
#include "fast_nms/fast_nms_cuda.h"

namespace kdet {
namespace {

// left: the scores of a class's best boxes in order, -infinity where a better box drops one.
__global__ void __launch_bounds__(kWideBlock) class_kernel(FastNms p, const float* boxes, const float* scores,
                                                           int* found, int* chosen, float* left) {
  constexpr int kLanes = 32;  // boxes at a time; threads of a warp read the same better box
  const int image = blockIdx.x / int(p.classes), label = blockIdx.x % int(p.classes);
  boxes += 4 * image * p.boxes;
  scores += image * p.boxes * p.classes + label;
  found += blockIdx.x * p.top_k;
  chosen += blockIdx.x * p.top_k;
  left += blockIdx.x * p.top_k;
  const auto score_of = [&](int i) {
    const float score = scores[i * p.classes];
    return score > p.score_threshold ? score : -INFINITY;
  };
  const int count = select_best(int(p.boxes), p.top_k, score_of, found, [&](int rank, int i, float score) {
    chosen[rank] = i;
    left[rank] = score;
  });
  for (int64_t k = count + int(threadIdx.x); k < p.top_k; k += kWideBlock) left[k] = -INFINITY;
  __syncthreads();
  for (int k = threadIdx.x % kLanes; k < count; k += kLanes) {
    const float* box = boxes + 4 * int64_t(chosen[k]);
    for (int better = threadIdx.x / kLanes; better < k; better += kWideBlock / kLanes) {
      if (iou_exceeds(boxes + 4 * int64_t(chosen[better]), box, p.iou_threshold, kLeastUnion)) {
        left[k] = -INFINITY;  // other threads may write the same
        break;
      }
    }
  }
}

__global__ void __launch_bounds__(kWideBlock) image_kernel(FastNms p, const int* chosen, const float* left,
                                                             int* found, int* indices, int* labels, float* kept,
                                                             int* counts) {
  const int64_t image = blockIdx.x, places = p.classes * p.top_k;
  chosen += image * places;
  left += image * places;
  found += image * places;
  indices += image * p.max_output;
  labels += image * p.max_output;
  kept += image * p.max_output;
  const auto score_of = [&](int place) { return left[place]; };
  const int count = select_best(int(places), p.max_output, score_of, found, [&](int rank, int place, float score) {
    indices[rank] = chosen[place];
    labels[rank] = place / int(p.top_k);
    kept[rank] = score;
  });
  for (int64_t k = count + int(threadIdx.x); k < p.max_output; k += kWideBlock) {
    indices[k] = labels[k] = 0;
    kept[k] = 0;
  }
  if (threadIdx.x == 0) counts[image] = count;
}

}  // namespace
}  // namespace kdet

extern "C" cudaError_t kdet_cuda_fast_nms(const kdet::FastNms* p, const float* boxes, const float* scores, int* found,
                                          int* chosen, float* left, int* indices, int* labels, float* kept,
                                          int* counts, cudaStream_t stream) {
  if (p->batch == 0) return cudaSuccess;
  if (p->classes > 0) {
    kdet::class_kernel<<<int(p->batch * p->classes), kdet::kWideBlock, 0, stream>>>(*p, boxes, scores, found, chosen,
                                                                                    left);
  }
  kdet::image_kernel<<<int(p->batch), kdet::kWideBlock, 0, stream>>>(*p, chosen, left, found, indices, labels, kept,
                                                                       counts);
  return cudaGetLastError();
}
