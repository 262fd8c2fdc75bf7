"""The video codecs on offer: how ffmpeg is asked for each, and what each can hold."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from batman_cli.errors import OutputError, UsageError
from batman_cli.ffmpeg import encoders

# Fixed, so that the same frames give the same bytes on every machine.
THREADS = 8

_MUXERS = {
    ".mp4": ("-f", "mp4", "-movflags", "+faststart"),  # index first: plays while it loads
    ".m4v": ("-f", "mp4", "-movflags", "+faststart"),
    ".mov": ("-f", "mov", "-movflags", "+faststart"),
    ".mkv": ("-f", "matroska"),
}

# Every picture is converted with the BT.709 matrix to limited range and says so in all four tags
# (setparams: the output options -color_primaries and -color_trc are lost on the way).
# accurate_rnd + full_chroma: exact rounding. Chroma sits on the left, where H.264 and its
# successors expect it; swscale's default is half a pixel to the right.
# swscale dithers 16 -> 8 bits by itself, so dark gradients do not band.
_TO_YUV = (
    "scale=out_color_matrix=bt709:out_range=tv:out_h_chr_pos=0:out_v_chr_pos=128"
    ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp,format={pixels},"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
_TO_RGB = "format={pixels},setparams=color_primaries=bt709:color_trc=bt709"


@dataclass(frozen=True)
class Codec:
    """One way to code a video."""

    encoder: str
    options: tuple[str, ...]
    pixels: str  # ffmpeg's name of the pixel format
    suffixes: tuple[str, ...]  # containers, the preferred one first
    least_bits: float  # bits per pixel: real frames always need more
    crf: int | None = None  # default quality; None: the codec has no such setting
    crf_range: tuple[int, int] = (0, 0)
    min_side: int = 16  # pixels; smaller ones fail in the encoder (SVT-AV1: memory corruption)
    max_width: int = 16384
    max_height: int = 16384
    max_fps: int = 1000

    @property
    def subsampled(self) -> bool:
        """Whether chroma is coded at half width (and height), which wants even sides."""
        return self.pixels.startswith(("yuv420", "yuv422"))


CODECS: dict[str, Codec] = {
    "h264": Codec(  # plays everywhere
        encoder="libx264",
        # aq-mode 3: more bits for dark areas, so that the dither there survives
        options=("-profile:v", "high", "-aq-mode", "3", "-threads:v", str(THREADS)),
        pixels="yuv420p",
        suffixes=(".mp4", ".m4v", ".mov", ".mkv"),
        least_bits=0.01,
        crf=18,
        crf_range=(1, 51),  # 0 is lossless, which the High profile excludes
    ),
    "hevc10": Codec(  # 10 bits: no banding in the dark
        encoder="libx265",
        options=("-x265-params", f"log-level=none:pools={THREADS}:frame-threads=3"),
        pixels="yuv420p10le",
        suffixes=(".mp4", ".m4v", ".mov", ".mkv"),
        least_bits=0.01,
        crf=20,
        crf_range=(0, 51),
    ),
    "prores": Codec(  # for editing
        encoder="prores_ks",
        options=("-profile:v", "hq", "-vendor", "apl0", "-threads:v", str(THREADS)),
        pixels="yuv422p10le",
        suffixes=(".mov",),
        least_bits=0.5,
    ),
    "ffv1": Codec(  # every bit of the 16-bit RGB frames
        encoder="ffv1",
        options=(
            *("-level", "3", "-g", "1", "-slices", "16", "-slicecrc", "1"),
            *("-threads:v", str(THREADS)),
        ),
        pixels="gbrp16le",
        suffixes=(".mkv",),
        least_bits=1.0,
    ),
    "av1": Codec(  # smallest
        encoder="libsvtav1",
        options=("-preset", "8"),
        pixels="yuv420p10le",
        suffixes=(".mp4", ".mkv"),
        least_bits=0.01,
        crf=24,
        crf_range=(1, 63),
        max_height=8704,
        max_fps=240,
    ),
}


def known_codec(name: str) -> Codec:
    """The codec of that name. Raises UsageError for an unknown one."""
    if name not in CODECS:
        raise UsageError(f"codec {name}", "unknown", f"Choose one of {', '.join(CODECS)}.")
    return CODECS[name]


def find_codec(name: str, path: Path, crf: int | None, fps: Fraction | None) -> Codec:
    """The codec of that name, which can be kept in a file called `path` with quality `crf`.

    fps: None where it is not known yet. Raises UsageError for an unknown name, the wrong suffix, a
    crf or rate it does not take, and OutputError where this ffmpeg lacks its encoder.
    """
    codec = known_codec(name)
    if path.suffix.lower() not in codec.suffixes:
        raise UsageError(
            path.name,
            f"codec {name} is not kept in {path.suffix or 'a file without suffix'}",
            f"Name the file *{' or *'.join(codec.suffixes)}.",
        )
    lowest, highest = codec.crf_range
    if crf is not None and codec.crf is None:
        with_crf = ", ".join(key for key, other in CODECS.items() if other.crf is not None)
        raise UsageError(
            f"crf {crf}", f"codec {name} has no such setting", f"Leave it to {with_crf}."
        )
    if crf is not None and not lowest <= crf <= highest:
        raise UsageError(f"crf {crf}", f"codec {name} takes {lowest} (best) to {highest}")
    if fps is not None and fps > codec.max_fps:
        why = f"codec {name} takes at most {codec.max_fps}"
        raise UsageError(f"fps {fps}", why, "Choose another codec.")
    if codec.encoder not in encoders():
        others = [key for key, other in CODECS.items() if other.encoder in encoders()]
        raise OutputError(
            f"codec {name}",
            f"this ffmpeg lacks the encoder {codec.encoder}",
            f"It has {', '.join(others)}." if others else "Reinstall imageio-ffmpeg.",
        )
    return codec


def coded_size(codec: Codec, width: int, height: int) -> tuple[int, int]:
    """Width and height as coded: of an odd side the last column or row is cut off.

    That is so for codecs with subsampled chroma alone; ffv1 keeps odd sides.
    Raises OutputError for sizes the codec cannot hold.
    """
    if codec.subsampled:
        width, height = width // 2 * 2, height // 2 * 2
    smallest = codec.min_side
    if not (smallest <= width <= codec.max_width and smallest <= height <= codec.max_height):
        raise OutputError(
            f"{width} x {height} pixels",
            f"{codec.encoder} takes {smallest} x {smallest} to "
            f"{codec.max_width} x {codec.max_height}",
            "Choose another codec or, if too large, a stronger binning.",
        )
    return width, height


def encode_arguments(
    codec: Codec, *, width: int, height: int, fps: Fraction, crf: int | None, suffix: str
) -> list[str]:
    """Arguments that make ffmpeg code rgb48le frames from its input, all but the file."""
    to_pixels = _TO_YUV if codec.pixels.startswith("yuv") else _TO_RGB
    quality = codec.crf if crf is None else crf
    rate = f"{fps.numerator}/{fps.denominator}"
    return [
        *("-f", "rawvideo", "-pixel_format", "rgb48le", "-video_size", f"{width}x{height}"),
        # -r: of rates below 5 and above 101, ffmpeg would otherwise take a standard one near by.
        *("-framerate", rate, "-r", rate, "-i", "pipe:0"),
        *("-vf", to_pixels.format(pixels=codec.pixels)),
        *("-c:v", codec.encoder, *codec.options),
        *(() if quality is None else ("-crf", str(quality))),
        # hvc1: the tag without which Apple's players refuse HEVC in MP4 and MOV
        *(("-tag:v", "hvc1") if codec.encoder == "libx265" and suffix != ".mkv" else ()),
        # bitexact: no version strings, dates or random identifiers in the file
        *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
        *("-flush_packets", "1"),  # the file grows with every picture, which the watchdog sees
        *_MUXERS[suffix],
    ]
