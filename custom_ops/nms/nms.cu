// Greedy NMS on CUDA: a bit matrix of overlaps in parallel, then one pass per picture in one block.
#include "common/cuda.h"
#include "nms/nms.h"

namespace kdet {
namespace {

constexpr int kWord = 64;

// Bit j of word w of row i: sorted box i suppresses sorted box w * 64 + j (only later boxes).
__global__ void overlap_kernel(Nms p, const float* boxes, const int* order, const int* candidates,
                               unsigned long long* overlaps) {
  const int64_t words = (p.boxes + kWord - 1) / kWord;
  KDET_EACH(index, p.batch * p.boxes * words) {
    const int64_t picture = index / (p.boxes * words), row = index / words % p.boxes, word = index % words;
    const int count = candidates[picture];
    unsigned long long bits = 0;
    if (row < count) {
      const float* base = boxes + picture * p.boxes * 4;
      const float* box = base + 4 * order[picture * p.boxes + row];
      for (int j = 0; j < kWord; ++j) {
        const int64_t other = word * kWord + j;
        if (other <= row || other >= count) continue;
        if (box_iou(box, base + 4 * order[picture * p.boxes + other]) > p.iou_threshold) bits |= 1ull << j;
      }
    }
    overlaps[index] = bits;
  }
}

// One block per picture; its threads share out the words of the list of the suppressed.
__global__ void pick_kernel(Nms p, const int* order, const int* candidates, const unsigned long long* overlaps,
                            unsigned long long* suppressed, int* indices, int* counts) {
  const int64_t words = (p.boxes + kWord - 1) / kWord, picture = blockIdx.x;
  unsigned long long* gone = suppressed + picture * words;
  for (int64_t w = threadIdx.x; w < words; w += blockDim.x) gone[w] = 0;
  for (int64_t k = threadIdx.x; k < p.max_output; k += blockDim.x) indices[picture * p.max_output + k] = 0;
  __syncthreads();
  int64_t kept = 0;
  for (int64_t row = 0; row < candidates[picture] && kept < p.max_output; ++row) {
    const bool out = gone[row / kWord] >> (row % kWord) & 1;
    __syncthreads();
    if (out) continue;
    if (threadIdx.x == 0) indices[picture * p.max_output + kept] = order[picture * p.boxes + row];
    ++kept;
    const unsigned long long* hits = overlaps + (picture * p.boxes + row) * words;
    for (int64_t w = threadIdx.x; w < words; w += blockDim.x) gone[w] |= hits[w];
    __syncthreads();
  }
  if (threadIdx.x == 0) counts[picture] = int(kept);
}

}  // namespace
}  // namespace kdet

// order [batch, boxes]: boxes by falling score; candidates [batch]: how many of them pass the threshold;
// scratch: batch * (boxes + 1) * ceil(boxes / 64) words.
extern "C" cudaError_t kdet_cuda_nms(const kdet::Nms* p, const float* boxes, const int* order, const int* candidates,
                                     unsigned long long* scratch, int* indices, int* counts, cudaStream_t stream) {
  if (p->batch == 0) return cudaSuccess;
  const int64_t words = (p->boxes + kdet::kWord - 1) / kdet::kWord, size = p->batch * p->boxes * words;
  kdet::overlap_kernel<<<kdet::blocks_for(size), kdet::kThreads, 0, stream>>>(*p, boxes, order, candidates, scratch);
  kdet::pick_kernel<<<int(p->batch), kdet::kThreads, 0, stream>>>(*p, order, candidates, scratch, scratch + size,
                                                                  indices, counts);
  return cudaGetLastError();
}
