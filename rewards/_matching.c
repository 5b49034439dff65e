/* How many symbols difflib's matching blocks cover, fast, and bounded for every input.
 *
 * difflib.SequenceMatcher (Ratcliff and Obershelp, "Pattern Matching: The Gestalt Approach", Dr. Dobb's Journal, 1988)
 * takes the longest block that two sequences share, the earliest in `a` and then in `b` among equals, and goes on in
 * the box on its left and the box on its right. Done literally that is cubic. Here the same blocks come from two
 * observations:
 *
 *   1. A box's longest block is at most its parent's, and the box on the left, which lies before the earliest block of
 *      that length, has only shorter ones. So one scan of a box yields all blocks of the greatest length k that difflib
 *      would take in it and in its right descendants: take the earliest, drop what lies before it, repeat. What remains
 *      are boxes that are disjoint in `a` and in `b` and whose blocks are all shorter than k.
 *   2. A nest of boxes has blocks of ever smaller lengths, disjoint in `b`, so it is at most sqrt(2 |b|) deep.
 *
 * A scan is linear: over the suffix automaton of `b` (Blumer et al., "The smallest automaton recognizing the subwords of
 * a text", 1985), or over 64-bit masks where the box is at most 64 wide in `b`. In all O((|a| + |b|) sqrt(|b|)) time and
 * O(|a| + |b|) memory, whatever the input. Symbols that cannot match (autojunk's popular ones, and those that the box's
 * part of `a` lacks) are barriers between the strings of the automaton.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST (1 << 24) /* symbols in a sequence; keeps every index in 32 bits and every size in 32-bit memory */
#define WORD 64           /* bits of a mask */

/* ---- the suffix automaton of the strings between barriers ---- */

typedef struct {
    int32_t length; /* of the longest string that leads here */
    int32_t link;   /* the state of the longest proper suffix that leads elsewhere; -1 at the root, state 0 */
    int32_t first;  /* where in b the strings that lead here end for the first time */
    int32_t edges;  /* head of the list of edges that leave, or -1 */
} State;

typedef struct {
    int32_t from, symbol, to;
    int32_t in_bucket, in_state; /* the next edge of the two lists, or -1 */
} Edge;

typedef struct {
    State *states;    /* at most 2n + 1 */
    Edge *edges;      /* at most 3n */
    int32_t *buckets; /* of a hash table over (from, symbol) */
    uint32_t mask;    /* buckets in use, less one */
    int32_t n_states, n_edges;
} Automaton;

static uint32_t power_of_two_from(uint32_t least)
{
    uint32_t power = 1;
    while (power < least)
        power *= 2;
    return power;
}

static int automaton_allocate(Automaton *m, int32_t size)
{
    m->states = malloc((2 * (size_t)size + 1) * sizeof *m->states);
    m->edges = malloc(3 * (size_t)size * sizeof *m->edges);
    m->buckets = malloc(power_of_two_from(2 * (uint32_t)size) * sizeof *m->buckets);
    return m->states && m->edges && m->buckets;
}

static void automaton_free(Automaton *m)
{
    free(m->states);
    free(m->edges);
    free(m->buckets);
}

static inline uint32_t bucket_of(const Automaton *m, int32_t from, int32_t symbol)
{
    uint32_t hash = (uint32_t)from * 2654435769u + (uint32_t)symbol * 2246822519u;
    return (hash ^ hash >> 15) & m->mask;
}

static inline Edge *edge_of(const Automaton *m, int32_t from, int32_t symbol)
{
    int32_t e = m->buckets[bucket_of(m, from, symbol)];
    while (e >= 0 && (m->edges[e].from != from || m->edges[e].symbol != symbol))
        e = m->edges[e].in_bucket;
    return e < 0 ? NULL : &m->edges[e];
}

static void add_edge(Automaton *m, int32_t from, int32_t symbol, int32_t to)
{
    int32_t *bucket = &m->buckets[bucket_of(m, from, symbol)];
    m->edges[m->n_edges] = (Edge){from, symbol, to, *bucket, m->states[from].edges};
    *bucket = m->states[from].edges = m->n_edges++;
}

static int32_t add_state(Automaton *m, int32_t length, int32_t link, int32_t first)
{
    m->states[m->n_states] = (State){length, link, first, -1};
    return m->n_states++;
}

/* Give the shorter strings of `old`, those that end in an edge from `state` or its suffixes, a state of their own. */
static int32_t split(Automaton *m, int32_t state, int32_t symbol, int32_t old)
{
    int32_t made = add_state(m, m->states[state].length + 1, m->states[old].link, m->states[old].first);
    for (int32_t e = m->states[old].edges; e >= 0; e = m->edges[e].in_state)
        add_edge(m, made, m->edges[e].symbol, m->edges[e].to);
    m->states[old].link = made;
    for (; state >= 0; state = m->states[state].link) {
        Edge *edge = edge_of(m, state, symbol);
        if (!edge || edge->to != old)
            break;
        edge->to = made;
    }
    return made;
}

/* The state of the string of `last` with the symbol at `position` appended. */
static int32_t extend(Automaton *m, int32_t last, int32_t symbol, int32_t position)
{
    Edge *edge = edge_of(m, last, symbol);
    int32_t made = -1, state = last;
    if (!edge) {
        made = add_state(m, m->states[last].length + 1, 0, position);
        for (; state >= 0 && !(edge = edge_of(m, state, symbol)); state = m->states[state].link)
            add_edge(m, state, symbol, made);
        if (state < 0)
            return made;
    }
    int32_t suffix = edge->to;
    if (m->states[suffix].length != m->states[state].length + 1)
        suffix = split(m, state, symbol, suffix);
    if (made < 0)
        return suffix;
    m->states[made].link = suffix;
    return made;
}

/* Build the automaton of b[low:high]; symbols whose `live` is not `epoch` are barriers. */
static void automaton_build(Automaton *m, const int32_t *b, int32_t low, int32_t high, const uint32_t *live,
                            uint32_t epoch)
{
    m->mask = power_of_two_from(2 * (uint32_t)(high - low)) - 1;
    memset(m->buckets, -1, ((size_t)m->mask + 1) * sizeof *m->buckets);
    m->n_states = m->n_edges = 0;
    int32_t last = add_state(m, 0, -1, -1);
    for (int32_t p = low; p < high; p++)
        last = live[b[p]] == epoch ? extend(m, last, b[p], p) : 0;
}

/* ---- what is known of b before any a is seen ---- */

typedef struct {
    int32_t size;         /* symbols of b */
    int32_t *b;           /* ids 0 .. alphabet-1, in order of first appearance */
    int32_t alphabet;     /* also the id of every symbol that b lacks */
    uint32_t *keys;       /* open-addressing table from the caller's symbols ... */
    int32_t *ids;         /* ... to ids; -1 is free */
    uint32_t mask;        /* slots of the table, less one */
    unsigned char *barred; /* by id: the search takes it for no block; autojunk's popular ones, and `alphabet` */
    uint32_t *live;       /* by id: 1 unless barred */
    Automaton automaton;  /* of the whole of b; empty if b is at most a word wide */
} Index;

static void index_free(Index *index)
{
    if (!index)
        return;
    free(index->b);
    free(index->keys);
    free(index->ids);
    free(index->barred);
    free(index->live);
    automaton_free(&index->automaton);
    free(index);
}

/* The slot of `key`: the one that holds it, or the free one where it belongs. */
static uint32_t slot_of(const Index *index, uint32_t key)
{
    uint32_t slot = key * 2654435769u;
    slot = (slot ^ slot >> 15) & index->mask;
    while (index->ids[slot] >= 0 && index->keys[slot] != key)
        slot = (slot + 1) & index->mask;
    return slot;
}

/* difflib's rule for "popular": in a b of 200 or more, more than 1 % of it, plus one. */
static void mark_popular(Index *index, const int32_t *counts, int autojunk)
{
    int32_t most = index->size / 100 + 1;
    for (int32_t id = 0; id < index->alphabet; id++) {
        index->barred[id] = autojunk && index->size >= 200 && counts[id] > most;
        index->live[id] = !index->barred[id];
    }
    index->barred[index->alphabet] = 1;
}

static int index_fill(Index *index, const uint32_t *symbols, int autojunk)
{
    size_t size = (size_t)index->size, slots = power_of_two_from(2 * (uint32_t)size + 1);
    int32_t *counts = calloc(size + 1, sizeof *counts);
    index->mask = (uint32_t)slots - 1;
    index->b = malloc((size + 1) * sizeof *index->b);
    index->keys = malloc(slots * sizeof *index->keys);
    index->ids = malloc(slots * sizeof *index->ids);
    index->barred = malloc(size + 1);
    index->live = malloc((size + 1) * sizeof *index->live);
    int done = counts && index->b && index->keys && index->ids && index->barred && index->live;
    if (done && size > WORD)
        done = automaton_allocate(&index->automaton, index->size);
    if (done) {
        memset(index->ids, -1, slots * sizeof *index->ids);
        for (size_t p = 0; p < size; p++) {
            uint32_t slot = slot_of(index, symbols[p]);
            if (index->ids[slot] < 0) {
                index->keys[slot] = symbols[p];
                index->ids[slot] = index->alphabet++;
            }
            counts[index->b[p] = index->ids[slot]]++;
        }
        mark_popular(index, counts, autojunk);
        if (size > WORD)
            automaton_build(&index->automaton, index->b, 0, index->size, index->live, 1);
    }
    free(counts);
    return done;
}

/* ---- the search ---- */

typedef struct {
    int32_t a_low, a_high, b_low, b_high;
    int32_t bound; /* no block here is longer, popular symbols at its ends not counted */
} Box;

typedef struct {
    int32_t end;    /* in a, of a block of the greatest length */
    uint64_t where; /* in b: a mask of the ends (narrow boxes), or the automaton's state (wide ones) */
} Candidate;

typedef struct {
    const Index *index;
    int32_t *a;
    Box *boxes; /* still to do: disjoint in b and not empty, so at most |b| */
    int32_t n_boxes;
    Candidate *candidates; /* of the box at hand, in the order of a */
    int32_t n_candidates;
    int32_t longest; /* length of its longest block */
    /* narrow boxes */
    uint64_t *masks; /* by id: where in the box's b it stands; all zero between boxes */
    /* wide boxes */
    Automaton own;              /* the automaton of a box that is not the whole of b */
    const Automaton *automaton; /* of the box at hand */
    uint32_t *live, epoch;      /* live[id] == epoch: both parts of the box can have it in a block */
    int listed;                 /* the two lists below are filled for the box at hand */
    int32_t *head, *next;       /* by state, by end: where in b a string of the greatest length ends */
} Search;

static void push(Search *s, int32_t a_low, int32_t a_high, int32_t b_low, int32_t b_high, int32_t bound)
{
    if (bound > b_high - b_low)
        bound = b_high - b_low;
    if (a_low < a_high && b_low < b_high)
        s->boxes[s->n_boxes++] = (Box){a_low, a_high, b_low, b_high, bound};
}

static void note(Search *s, int32_t length, int32_t end, uint64_t where)
{
    if (length > s->longest) {
        s->longest = length;
        s->n_candidates = 0;
    }
    s->candidates[s->n_candidates++] = (Candidate){end, where};
}

/* Candidates of a box at most WORD wide: bit p of `ends` stands for a block that ends at a[i] and b[b_low + p]. */
static void scan_narrow(Search *s, Box box)
{
    const int32_t *b = s->index->b, *a = s->a;
    for (int32_t p = box.b_low; p < box.b_high; p++)
        if (!s->index->barred[b[p]])
            s->masks[b[p]] |= (uint64_t)1 << (p - box.b_low);
    for (int32_t i = box.a_low; i < box.a_high; i++) {
        int32_t span = 1, most = i - box.a_low < box.bound ? i - box.a_low + 1 : box.bound;
        uint64_t ends = s->masks[a[i]], longer;
        for (; span < most && (longer = ends & s->masks[a[i - span]] << span); span++)
            ends = longer;
        if (ends && span >= s->longest)
            note(s, span, i, ends);
    }
    for (int32_t p = box.b_low; p < box.b_high; p++)
        s->masks[b[p]] = 0;
}

/* Candidates of a wide box: read a through the automaton of b, always in the state of the longest suffix that b has. */
static void scan_wide(Search *s, Box box)
{
    const int32_t *b = s->index->b, *a = s->a;
    const Automaton *m = s->automaton = &s->index->automaton;
    s->epoch++;
    if (box.b_high - box.b_low == s->index->size) {
        for (int32_t id = 0; id < s->index->alphabet; id++)
            if (!s->index->barred[id])
                s->live[id] = s->epoch;
    } else {
        for (int32_t i = box.a_low; i < box.a_high; i++)
            if (!s->index->barred[a[i]])
                s->live[a[i]] = s->epoch;
        automaton_build(&s->own, b, box.b_low, box.b_high, s->live, s->epoch);
        m = s->automaton = &s->own;
    }
    int32_t state = 0, length = 0;
    for (int32_t i = box.a_low; i < box.a_high; i++) {
        const Edge *edge = NULL;
        if (s->live[a[i]] == s->epoch)
            while (!(edge = edge_of(m, state, a[i])) && state > 0)
                length = m->states[state = m->states[state].link].length;
        if (!edge) {
            state = length = 0;
            continue;
        }
        state = edge->to;
        if (++length >= s->longest)
            note(s, length, i, (uint64_t)state);
    }
    s->listed = 0;
}

/* List, for each state, where in the box's b the string of the greatest length that leads to it ends. */
static void list_ends(Search *s, Box box)
{
    const Automaton *m = s->automaton;
    const int32_t *b = s->index->b;
    int32_t state = 0, length = 0, *named = s->next; /* first the state of each end, then, backwards, the links */
    for (int32_t p = box.b_low; p < box.b_high; p++) {
        const Edge *edge = s->live[b[p]] == s->epoch ? edge_of(m, state, b[p]) : NULL;
        state = edge ? edge->to : 0;
        length = edge ? length + 1 : 0;
        if (length > s->longest)
            length = s->longest;
        while (length && m->states[m->states[state].link].length >= length)
            state = m->states[state].link;
        named[p] = length == s->longest ? state : -1;
    }
    memset(s->head, -1, (size_t)m->n_states * sizeof *s->head);
    for (int32_t p = box.b_high - 1; p >= box.b_low; p--) {
        int32_t at = named[p];
        if (at < 0)
            continue;
        s->next[p] = s->head[at];
        s->head[at] = p;
    }
    s->listed = 1;
}

/* Where in b, from `low` on, the candidate's block first begins; -1 if nowhere. `low` only grows within a box. */
static int32_t earliest(Search *s, Box box, Candidate candidate, int32_t low)
{
    int32_t lowest_end = low + s->longest - 1;
    if (box.b_high - box.b_low <= WORD) {
        int32_t skip = lowest_end - box.b_low;
        uint64_t ends = skip < WORD ? candidate.where >> skip : 0;
        return ends ? low + __builtin_ctzll(ends) : -1;
    }
    int32_t first = s->automaton->states[candidate.where].first;
    if (first >= lowest_end)
        return first - s->longest + 1;
    if (!s->listed)
        list_ends(s, box);
    int32_t *head = &s->head[candidate.where];
    while (*head >= 0 && *head < lowest_end)
        *head = s->next[*head];
    return *head < 0 ? -1 : *head - s->longest + 1;
}

/* Take the box's blocks of the greatest length, as difflib would one by one; push what lies between them. */
static int32_t take_blocks(Search *s, Box box)
{
    const int32_t *a = s->a, *b = s->index->b;
    int32_t covered = 0, a_low = box.a_low, b_low = box.b_low;
    for (int32_t c = 0; c < s->n_candidates; c++) {
        int32_t i = s->candidates[c].end - s->longest + 1, j, size = s->longest;
        if (i < a_low || (j = earliest(s, box, s->candidates[c], b_low)) < 0)
            continue;
        for (; i > a_low && j > b_low && a[i - 1] == b[j - 1]; size++)
            i--, j--;
        while (i + size < box.a_high && j + size < box.b_high && a[i + size] == b[j + size])
            size++;
        push(s, a_low, i, b_low, j, s->longest - 1);
        covered += size;
        a_low = i + size;
        b_low = j + size;
    }
    push(s, a_low, box.a_high, b_low, box.b_high, s->longest - 1);
    return covered;
}

/* Without a block, difflib still takes what the box's two parts begin with alike: popular symbols only. */
static int32_t common_prefix(const Search *s, Box box)
{
    int32_t size = 0;
    while (box.a_low + size < box.a_high && box.b_low + size < box.b_high
           && s->a[box.a_low + size] == s->index->b[box.b_low + size])
        size++;
    return size;
}

static int32_t search(Search *s, int32_t a_size)
{
    int32_t covered = 0;
    push(s, 0, a_size, 0, s->index->size, s->index->size);
    while (s->n_boxes) {
        Box box = s->boxes[--s->n_boxes];
        s->longest = s->n_candidates = 0;
        if (box.bound > 0 && box.b_high - box.b_low <= WORD)
            scan_narrow(s, box);
        else if (box.bound > 0)
            scan_wide(s, box);
        covered += s->longest ? take_blocks(s, box) : common_prefix(s, box);
    }
    return covered;
}

/* Symbols of a that difflib's blocks cover, or -1 if memory ran out. */
static int32_t count_matches(const Index *index, const uint32_t *symbols, int32_t a_size)
{
    size_t size = (size_t)index->size, alphabet = (size_t)index->alphabet + 1, wide = size > WORD;
    Search s = {.index = index};
    s.a = malloc(((size_t)a_size + 1) * sizeof *s.a);
    s.boxes = malloc((size + 1) * sizeof *s.boxes);
    s.candidates = malloc(((size_t)a_size + 1) * sizeof *s.candidates);
    s.masks = calloc(alphabet, sizeof *s.masks);
    s.live = calloc(alphabet, sizeof *s.live);
    s.head = malloc((wide * 2 * size + 1) * sizeof *s.head);
    s.next = malloc((wide * size + 1) * sizeof *s.next);
    int done = s.a && s.boxes && s.candidates && s.masks && s.live && s.head && s.next;
    if (done && wide)
        done = automaton_allocate(&s.own, index->size);
    int32_t covered = -1;
    if (done) {
        for (int32_t i = 0; i < a_size; i++) {
            int32_t id = index->ids[slot_of(index, symbols[i])];
            s.a[i] = id < 0 ? index->alphabet : id;
        }
        covered = search(&s, a_size);
    }
    free(s.a);
    free(s.boxes);
    free(s.candidates);
    free(s.masks);
    free(s.live);
    free(s.head);
    free(s.next);
    automaton_free(&s.own);
    return covered;
}

/* ---- Python ---- */

static const char CAPSULE[] = "stepgym.rewards._matching.Index";

static void capsule_free(PyObject *capsule)
{
    index_free(PyCapsule_GetPointer(capsule, CAPSULE));
}

/* The number of symbols in a buffer of native 32-bit integers, or -1 with an exception set. */
static int32_t symbols_in(const Py_buffer *view)
{
    if (view->len % 4 == 0 && view->len / 4 <= LONGEST)
        return (int32_t)(view->len / 4);
    PyErr_Format(PyExc_ValueError, "expected at most %d 32-bit symbols, got %zd bytes", LONGEST, view->len);
    return -1;
}

static PyObject *matching_index(PyObject *module, PyObject *arguments)
{
    Py_buffer view;
    int autojunk, done = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*p", &view, &autojunk))
        return NULL;
    int32_t size = symbols_in(&view);
    if (size < 0) {
        PyBuffer_Release(&view);
        return NULL;
    }
    Index *index = calloc(1, sizeof *index);
    if (index) {
        index->size = size;
        Py_BEGIN_ALLOW_THREADS
        done = index_fill(index, view.buf, autojunk);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&view);
    PyObject *capsule = done ? PyCapsule_New(index, CAPSULE, capsule_free) : PyErr_NoMemory();
    if (!capsule)
        index_free(index);
    return capsule;
}

static PyObject *matching_count(PyObject *module, PyObject *arguments)
{
    Py_buffer view;
    PyObject *capsule;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Oy*", &capsule, &view))
        return NULL;
    const Index *index = PyCapsule_GetPointer(capsule, CAPSULE);
    int32_t size = index ? symbols_in(&view) : -1, covered = -1;
    if (size >= 0) {
        Py_BEGIN_ALLOW_THREADS
        covered = count_matches(index, view.buf, size);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&view);
    if (covered >= 0)
        return PyLong_FromLong(covered);
    return size < 0 ? NULL : PyErr_NoMemory();
}

static PyMethodDef methods[] = {
    {"index", matching_index, METH_VARARGS,
     "index(b, autojunk): what a search needs to know of b, a buffer of native 32-bit symbols; good in any thread."},
    {"count", matching_count, METH_VARARGS,
     "count(index, a): how many symbols of a the matching blocks of difflib.SequenceMatcher(None, a, b) cover."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_matching",
    .m_doc = "The matching blocks of difflib, counted.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__matching(void)
{
    return PyModuleDef_Init(&definition);
}
