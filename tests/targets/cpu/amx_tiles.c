/* AMX's tiles in memory, one set per thread: what its instructions do, for processors without them
   (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2). */

typedef unsigned char u8;
typedef signed char s8;

static _Thread_local u8 tiles[8][16][64];
static _Thread_local u8 shapes[64];

static int rows(int tile) { return shapes[48 + tile]; }
static int row_bytes(int tile) { return shapes[16 + 2 * tile] | shapes[17 + 2 * tile] << 8; }

static void clear(int tile) {
    for (int row = 0; row < 16; ++row)
        for (int at = 0; at < 64; ++at) tiles[tile][row][at] = 0;
}

void described_ldtilecfg(const u8 *from) {
    for (int at = 0; at < 64; ++at) shapes[at] = from[at];
    for (int tile = 0; tile < 8; ++tile) clear(tile);
}

void described_tilerelease(void) {
    for (int at = 0; at < 64; ++at) shapes[at] = 0;
}

void described_tileloadd64(char tile, const u8 *from, long long pitch) {
    clear(tile);
    for (int row = 0; row < rows(tile); ++row)
        for (int at = 0; at < row_bytes(tile); ++at)
            tiles[(int)tile][row][at] = from[row * pitch + at];
}

void described_tilestored64(char tile, u8 *to, long long pitch) {
    for (int row = 0; row < rows(tile); ++row)
        for (int at = 0; at < row_bytes(tile); ++at)
            to[row * pitch + at] = tiles[(int)tile][row][at];
}

void described_tdpbusd(char sums, char left, char right) {
    for (int row = 0; row < rows(sums); ++row)
        for (int group = 0; group < row_bytes(left) / 4; ++group)
            for (int column = 0; column < row_bytes(sums) / 4; ++column) {
                int sum;
                u8 *place = &tiles[(int)sums][row][4 * column];
                __builtin_memcpy(&sum, place, 4);
                for (int at = 0; at < 4; ++at)
                    sum += tiles[(int)left][row][4 * group + at] *
                           (s8)tiles[(int)right][group][4 * column + at];
                __builtin_memcpy(place, &sum, 4);
            }
}

void described_tilezero(char tile) { clear(tile); }

static float wide(const u8 *bits) {
    unsigned word = (unsigned)bits[0] << 16 | (unsigned)bits[1] << 24;
    float value;
    __builtin_memcpy(&value, &word, 4);
    return value;
}

void described_tdpbf16ps(char sums, char left, char right) {
    for (int row = 0; row < rows(sums); ++row)
        for (int column = 0; column < row_bytes(sums) / 4; ++column) {
            float parts[2] = {0, 0}, sum;
            u8 *place = &tiles[(int)sums][row][4 * column];
            for (int group = 0; group < row_bytes(left) / 4; ++group)
                for (int at = 0; at < 2; ++at)
                    parts[at] += wide(&tiles[(int)left][row][4 * group + 2 * at]) *
                                 wide(&tiles[(int)right][group][4 * column + 2 * at]);
            __builtin_memcpy(&sum, place, 4);
            sum += parts[0] + parts[1];
            __builtin_memcpy(place, &sum, 4);
        }
}
