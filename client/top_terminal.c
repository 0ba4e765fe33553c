/*
 * top's terminal: ncurses as the thing that knows how a cell becomes bytes. What changed is found
 * out here, so that a frame in which nothing changed costs no call.
 *
 * Should the program die of a mistake of its own, the terminal is given back all the same: by what
 * a signal handler may do, which is no ncurses.
 */
#include <langinfo.h>
#include <locale.h>
#include <ncurses.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "client/top.h"
#include "proto/base/check.h"

enum { PAIRS_FIRST = TOP_STYLES + 1, ESCAPE_WAIT_MS = 25 };

struct top_terminal {
    SCREEN *curses;
    struct top_screen screen;
    struct top_cell *shown; /* as the terminal has it */
    enum top_palette palette;
    bool palette_set;
    short heat[TOP_HEATS];
    short pairs[TOP_HEATS][TOP_HEATS]; /* of ink and paper; 0: not made yet */
    short pair_next;
};

static struct termios terminal_before;

/* Colours of enum top_heat, 256 of them or 8. */
static const short heat_256[2][TOP_HEATS] = {
    {-1, 238, 22, 28, 34, 70, 106, 142, 178, 172, 166, 160, 197, 97, 231},
    {-1, 238, 17, 18, 25, 31, 66, 102, 138, 143, 179, 220, 230, 133, 196},
};
static const short heat_8[2][TOP_HEATS] = {
    {-1, COLOR_BLACK, COLOR_GREEN, COLOR_GREEN, COLOR_GREEN, COLOR_GREEN, COLOR_YELLOW,
     COLOR_YELLOW, COLOR_YELLOW, COLOR_RED, COLOR_RED, COLOR_RED, COLOR_RED, COLOR_MAGENTA,
     COLOR_WHITE},
    {-1, COLOR_BLACK, COLOR_BLUE, COLOR_BLUE, COLOR_BLUE, COLOR_BLUE, COLOR_CYAN, COLOR_CYAN,
     COLOR_CYAN, COLOR_YELLOW, COLOR_YELLOW, COLOR_YELLOW, COLOR_YELLOW, COLOR_MAGENTA,
     COLOR_WHITE},
};

/* ---- styles ---- */

static attr_t attributes_of(enum top_style style, bool colours)
{
    switch (style) {
    case TOP_DIM:
        return A_DIM;
    case TOP_BOLD:
        return A_BOLD;
    case TOP_HEADER:
    case TOP_TITLE_KEYS:
        return A_REVERSE | A_BOLD;
    case TOP_CURSOR:
        return A_REVERSE;
    case TOP_TITLE:
        return A_UNDERLINE;
    case TOP_GOOD:
    case TOP_WARN:
        return colours ? A_BOLD : A_NORMAL;
    case TOP_BAD:
        return A_BOLD | A_REVERSE;
    case TOP_BAR_LOW:
    case TOP_BAR_MIDDLE:
    case TOP_BAR_HIGH:
        return A_REVERSE;
    case TOP_BAR_OLD:
        return A_REVERSE | A_DIM;
    case TOP_BAR_REST:
        return A_DIM;
    case TOP_PLAIN:
    case TOP_HEAT:
    case TOP_STYLES:
        break;
    }
    return A_NORMAL;
}

static short colour_of(enum top_style style, bool safe)
{
    switch (style) {
    case TOP_GOOD:
    case TOP_BAR_LOW:
        return safe ? COLOR_CYAN : COLOR_GREEN;
    case TOP_WARN:
    case TOP_BAR_MIDDLE:
        return COLOR_YELLOW;
    case TOP_BAD:
    case TOP_BAR_HIGH:
        return safe ? COLOR_MAGENTA : COLOR_RED;
    case TOP_PLAIN:
    case TOP_DIM:
    case TOP_BOLD:
    case TOP_HEADER:
    case TOP_TITLE:
    case TOP_TITLE_KEYS:
    case TOP_CURSOR:
    case TOP_BAR_OLD:
    case TOP_BAR_REST:
    case TOP_HEAT:
    case TOP_STYLES:
        break;
    }
    return -1;
}

static void set_palette(struct top_terminal *t, enum top_palette palette)
{
    const bool safe = palette == TOP_PALETTE_SAFE;

    t->palette = palette;
    t->palette_set = true;
    memset(t->pairs, 0, sizeof t->pairs);
    t->pair_next = PAIRS_FIRST;
    for (enum top_style style = TOP_PLAIN; t->screen.colours && style < TOP_STYLES; style++) {
        (void)init_pair((short)(style + 1), colour_of(style, safe), -1);
    }
    for (int i = 0; i < TOP_HEATS; i++) {
        t->heat[i] = COLORS >= 256 ? heat_256[safe][i] : heat_8[safe][i];
    }
    memset(t->shown, 0xff, (size_t)t->screen.rows * t->screen.columns * sizeof *t->shown);
}

static short pair_of(struct top_terminal *t, uint8_t ink, uint8_t paper)
{
    short *pair = &t->pairs[ink][paper];

    if (*pair == 0) {
        if (t->pair_next >= COLOR_PAIRS) {
            return t
                ->pairs[ink][TOP_HEAT_NONE]; /* a terminal with few of them loses the lower one */
        }
        *pair = t->pair_next++;
        (void)init_pair(*pair, t->heat[ink], t->heat[paper]);
    }
    return *pair;
}

/* ---- cells ---- */

static void put_cell(struct top_terminal *t, uint32_t row, uint32_t column,
                     const struct top_cell *cell)
{
    const wchar_t text[2] = {(wchar_t)cell->glyph, L'\0'};
    attr_t attributes = attributes_of((enum top_style)cell->style, t->screen.colours);
    short pair = 0;
    cchar_t wide;

    if (t->screen.colours && cell->style == TOP_HEAT) {
        pair = pair_of(t, cell->ink, cell->paper);
    } else if (t->screen.colours) {
        pair = (short)(cell->style + 1);
    }
    if (setcchar(&wide, text, attributes, pair, NULL) == OK) {
        (void)mvadd_wch((int)row, (int)column, &wide); /* ERR at the last cell of all: it stands */
    }
}

void top_terminal_show(struct top_terminal *t, enum top_palette palette)
{
    const struct top_screen *screen = &t->screen;

    if (!t->palette_set || palette != t->palette) {
        set_palette(t, palette);
    }
    for (uint32_t row = 0; row < screen->rows; row++) {
        for (uint32_t column = 0; column < screen->columns; column++) {
            size_t at = (size_t)row * screen->columns + column;
            if (memcmp(&screen->cells[at], &t->shown[at], sizeof t->shown[at]) != 0) {
                t->shown[at] = screen->cells[at];
                if (screen->cells[at].glyph != 0) {
                    put_cell(t, row, column, &screen->cells[at]);
                }
            }
        }
    }
    (void)refresh();
}

struct top_screen *top_terminal_screen(struct top_terminal *t)
{
    return &t->screen;
}

static bool take_size(struct top_terminal *t)
{
    int rows = 0;
    int columns = 0;

    getmaxyx(stdscr, rows, columns);
    if (!top_screen_resize(&t->screen, (uint32_t)rows, (uint32_t)columns)) {
        return false;
    }
    struct top_cell *shown = calloc((size_t)t->screen.rows * t->screen.columns, sizeof *shown);
    if (shown == NULL) {
        return false;
    }
    free(t->shown);
    t->shown = shown;
    memset(shown, 0xff, (size_t)t->screen.rows * t->screen.columns * sizeof *shown);
    return true;
}

void top_terminal_resize(struct top_terminal *t)
{
    struct winsize size = {0};

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0) {
        (void)resizeterm(size.ws_row, size.ws_col);
    }
    FLY_CHECK(take_size(t)); /* without memory for a screen there is nothing to show it on */
    (void)clearok(stdscr, TRUE);
    (void)erase();
}

/* ---- keys ---- */

uint32_t top_terminal_key(struct top_terminal *t)
{
    static const struct {
        wint_t code;
        uint32_t key;
    } keys[] = {
        {KEY_UP, TOP_KEY_UP},
        {KEY_DOWN, TOP_KEY_DOWN},
        {KEY_LEFT, TOP_KEY_LEFT},
        {KEY_RIGHT, TOP_KEY_RIGHT},
        {KEY_PPAGE, TOP_KEY_PAGE_UP},
        {KEY_NPAGE, TOP_KEY_PAGE_DOWN},
        {KEY_HOME, TOP_KEY_HOME},
        {KEY_END, TOP_KEY_END},
        {KEY_ENTER, TOP_KEY_ENTER},
        {KEY_BTAB, TOP_KEY_BACK_TAB},
        {KEY_BACKSPACE, TOP_KEY_BACKSPACE},
    };
    wint_t code = 0;
    int kind = get_wch(&code);

    (void)t;
    if (kind == KEY_CODE_YES) {
        for (size_t i = 0; i < FLY_ARRAY_COUNT(keys); i++) {
            if (keys[i].code == code) {
                return keys[i].key;
            }
        }
        return UINT32_MAX; /* a key that means nothing here */
    }
    if (kind != OK) {
        return 0;
    }
    switch (code) {
    case '\t':
        return TOP_KEY_TAB;
    case '\r':
    case '\n':
        return TOP_KEY_ENTER;
    case 0x1b:
        return TOP_KEY_ESCAPE;
    case 0x08:
    case 0x7f:
        return TOP_KEY_BACKSPACE;
    case 0x0c: /* Ctrl-L: all anew */
        top_terminal_resize(t);
        return UINT32_MAX;
    default:
        return code;
    }
}

/* ---- opening and closing ---- */

/* Leaves the other screen, shows the cursor, ends the colours; what terminals since the VT220 know.
 */
static void on_death(int number)
{
    static const char back[] = "\033[?1049l\033[?25h\033[0m\r\n";
    ssize_t written = write(STDOUT_FILENO, back, sizeof back - 1);

    (void)written;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
    (void)raise(number); /* SA_RESETHAND: as it would have been */
}

static void watch_death(bool on)
{
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = on ? on_death : SIG_DFL,
                               .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

    for (size_t i = 0; i < FLY_ARRAY_COUNT(numbers); i++) {
        struct sigaction before;
        /* a sanitizer's own handler says more */
        if (sigaction(numbers[i], NULL, &before) == 0 &&
            (before.sa_handler == SIG_DFL || before.sa_handler == on_death)) {
            (void)sigaction(numbers[i], &action, NULL);
        }
    }
}

static bool want_colours(void)
{
    const char *no_color = getenv("NO_COLOR"); /* no-color.org: set, and not empty */

    return (no_color == NULL || no_color[0] == '\0') && has_colors();
}

struct top_terminal *top_terminal_open(void)
{
    struct top_terminal *t = calloc(1, sizeof *t);

    if (t == NULL || tcgetattr(STDIN_FILENO, &terminal_before) != 0) {
        free(t);
        return NULL;
    }
    (void)setlocale(LC_CTYPE, "");
    t->curses = newterm(NULL, stdout, stdin);
    if (t->curses == NULL) {
        free(t);
        return NULL;
    }
    watch_death(true);
    (void)set_term(t->curses);
    t->screen.unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    t->screen.colours =
        want_colours() && start_color() == OK && use_default_colors() == OK && COLORS >= 8;
    (void)cbreak();
    (void)noecho();
    (void)nonl();
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)set_escdelay(ESCAPE_WAIT_MS);
    (void)curs_set(0);
    if (!take_size(t)) {
        top_terminal_close(t);
        return NULL;
    }
    return t;
}

void top_terminal_close(struct top_terminal *t)
{
    if (t == NULL) {
        return;
    }
    (void)curs_set(1);
    (void)endwin();
    watch_death(false);
    delscreen(t->curses);
    top_screen_fini(&t->screen);
    free(t->shown);
    free(t);
}

void top_terminal_stop(struct top_terminal *t)
{
    (void)endwin();
    (void)kill(getpid(), SIGSTOP);
    top_terminal_resize(t);
    (void)refresh();
}
