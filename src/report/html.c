/* html.c - the frame of all pages: text that cannot be taken for markup, and one stylesheet, light
 * or dark as the reader's system is. Colours of series are those of Okabe and Ito (2008), which
 * people tell apart whatever colours they see, darker or lighter where the ground asks for it. */
#include "report/internal.h"

#include <math.h>
#include <string.h>

/* ---- text ------------------------------------------------------------------------------------ */

static void put_clean(FILE *to, const char *text) {
    for (const char *c = text; *c; c++) {
        switch (*c) {
        case '&': fputs("&amp;", to); break;
        case '<': fputs("&lt;", to); break;
        case '>': fputs("&gt;", to); break;
        case '"': fputs("&quot;", to); break;
        case '\'': fputs("&#39;", to); break;
        default: fputc(*c, to);
        }
    }
}

void vn_html_text(FILE *to, const char *text) {
    char *own = vn_utf8(text);
    if (own) {
        vn_clean_line(own);
        put_clean(to, own);
    } else { /* without memory: what is plain ASCII */
        for (const char *c = text; *c; c++)
            if (*c >= ' ' && *c < 127 && !strchr("&<>\"'", *c)) fputc(*c, to);
    }
    vn_free(own);
}

void vn_html_element(FILE *to, const char *open, const char *text) {
    fprintf(to, "<%s>", open);
    vn_html_text(to, text);
    fprintf(to, "</%.*s>\n", (int)strcspn(open, " "), open);
}

void vn_html_number(char text[32], double value) {
    if (isfinite(value))
        vn_snprintf(text, 32, "%.4g", value);
    else
        vn_snprintf(text, 32, "-");
}

/* ---- pictures -------------------------------------------------------------------------------- */

void vn_html_png(FILE *to, const void *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = bytes;
    fputs("data:image/png;base64,", to);
    for (size_t i = 0; i < size; i += 3) {
        const size_t n = size - i < 3 ? size - i : 3;
        const uint32_t three =
            (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (n > 2 ? p[i + 2] : 0);
        for (size_t k = 0; k < 4; k++) fputc(k <= n ? digits[three >> (18 - 6 * k) & 63] : '=', to);
    }
}

/* ---- the document ---------------------------------------------------------------------------- */

static const char style[] =
    ":root{color-scheme:light dark;--ground:#fff;--card:#f6f7f9;--ink:#1d232b;--soft:#57616e;"
    "--line:#d5dae1;--grid:#e8ebef;--best:#0a7a4b;--best-ground:#e7f5ee;"
    "--s0:#0072b2;--s1:#c45a00;--s2:#00845f;--s3:#b0508a;--s4:#8a6d00;--s5:#2a8fc4;--s6:#6a51a3;"
    "--s7:#57616e}\n"
    "@media(prefers-color-scheme:dark){:root{--ground:#12161b;--card:#1a2027;--ink:#e6eaef;"
    "--soft:#9aa5b3;--line:#323b46;--grid:#252d36;--best:#5fd3a0;--best-ground:#14301f;"
    "--s0:#56b4e9;--s1:#f0943a;--s2:#35c79a;--s3:#dd8fbd;--s4:#d9bc2f;--s5:#8fd0f4;--s6:#b3a0e6;"
    "--s7:#9aa5b3}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1.2rem 1rem 3rem;max-width:80rem;background:var(--ground);"
    "color:var(--ink);font:16px/1.5 system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\n"
    "h1{font-size:1.5rem;line-height:1.25;margin:.2rem 0 .3rem;overflow-wrap:anywhere}\n"
    "h2{font-size:1.15rem;margin:2.2rem 0 .7rem}\n"
    "p{margin:.4rem 0}.note{color:var(--soft);max-width:46rem}\n"
    "code{font:.92em ui-monospace,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere}\n"
    ".best{border-left:4px solid var(--best);background:var(--best-ground);padding:.8rem 1rem;"
    "border-radius:6px;margin:1rem 0}\n"
    ".best strong{font-size:1.2rem}.best dl{display:flex;flex-wrap:wrap;gap:.4rem 1.6rem;"
    "margin:.6rem 0}.best dt{color:var(--soft);font-size:.85rem}.best dd{margin:0;"
    "font-weight:600;font-variant-numeric:tabular-nums}\n"
    ".best pre{margin:.4rem 0 0;white-space:pre-wrap}\n"
    ".plots{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr"
    "))}\n"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;"
    "padding:.8rem .8rem .6rem;min-width:0}\n"
    "figcaption{font-weight:600;line-height:1.3}figcaption small{display:block;font-weight:400;"
    "color:var(--soft)}\n"
    "svg{display:block;width:100%;height:auto;max-width:34rem;margin:.4rem auto 0}\n"
    "svg text{fill:var(--soft);font-size:12.5px;font-family:inherit}svg .name{fill:var(--ink)}\n"
    "svg .grid{stroke:var(--grid)}svg .axis{stroke:var(--line)}svg .front{stroke:var(--soft);"
    "stroke-dasharray:4 4;fill:none}svg .ring{stroke:var(--best);stroke-width:2.5;fill:none}\n"
    ".s0{--c:var(--s0)}.s1{--c:var(--s1)}.s2{--c:var(--s2)}.s3{--c:var(--s3)}.s4{--c:var(--s4)}"
    ".s5{--c:var(--s5)}.s6{--c:var(--s6)}.s7{--c:var(--s7)}\n"
    "svg .curve{stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round}"
    "svg .bar{stroke:var(--c);opacity:.45}svg .mark{fill:var(--c)}"
    "svg .mark:hover{stroke:var(--ink);stroke-width:2}\n"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:.1rem 1rem;margin:.3rem 0 0;padding:0;"
    "font-size:.85rem;color:var(--soft)}.legend svg{display:inline-block;width:22px;height:12px;"
    "margin:0 .35rem 0 0;vertical-align:-1px}\n"
    ".wide{overflow-x:auto;border:1px solid var(--line);border-radius:8px}\n"
    "table{border-collapse:collapse;width:100%;font-size:.88rem;"
    "font-variant-numeric:tabular-nums}\n"
    "th,td{padding:.35rem .7rem;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid var(--grid)}\n"
    "th{color:var(--soft);font-weight:600;background:var(--card)}"
    "th:first-child,td:first-child{text-align:left}tr:last-child td{border-bottom:0}\n"
    "tr.chosen td{background:var(--best-ground);font-weight:600}td small{color:var(--soft)}\n"
    ".pictures{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),"
    "1fr))}.pictures img{display:block;width:100%;height:auto;margin-top:.5rem;border-radius:4px;"
    "image-rendering:pixelated}figure.chosen{border:2px solid var(--best)}\n"
    ".settings{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;font-size:.9rem}"
    ".settings dt{color:var(--soft)}.settings dd{margin:0;overflow-wrap:anywhere}\n";

void vn_html_begin(FILE *to, const char *title) {
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
          "style-src 'unsafe-inline'; img-src data:\">\n"
          "<link rel=\"icon\" href=\"data:,\">\n",
          to);
    vn_html_element(to, "title", title);
    fprintf(to, "<style>\n%s</style>\n</head>\n<body>\n", style);
}

void vn_html_end(FILE *to) {
    fputs("</body>\n</html>\n", to);
}
