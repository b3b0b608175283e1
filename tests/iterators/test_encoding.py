"""Features encoded by statistics of the training split: what is learned, what is made of it, and what is kept."""

import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import datastack_fs as ds
from datastack_fs.errors import DatasetFileCorruptError
from datastack_fs.iterators import DatasetMeta, SequenceDatasetIterator, chunks
from datastack_fs.iterators.encoding import Encoding, MinMax, OneHot, Ordinal, Standard, fit_encoding
from datastack_fs.testing import DatasetIteratorTests
from harness.encoders import Largest
from harness.leaves import RecordingLeaf

SPECIES = ["owl", "wren", "owl", "kite", "wren", "wren"]
AGES = [3.0, 1.0, 5.0, 9.0, np.nan, 2.0]
LABELS = [7, 5, 7, 9, 5, 5]
META = DatasetMeta("birds", "birds", tag="train")


def birds():
    rows = [
        {"age": age, "species": species, "ring": ring}
        for ring, (age, species) in enumerate(zip(AGES, SPECIES, strict=True))
    ]
    return SequenceDatasetIterator(rows, LABELS, meta=META)


def arrays(rows=12):
    values = np.arange(rows * 6).reshape(rows, 6).astype(np.float32)
    return SequenceDatasetIterator(values, np.arange(rows) % 3, meta=META)


class TestEncodedColumns(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return birds().encode(fit_encoding(birds(), {"age": "min-max", "species": "one-hot"}, target="ordinal"))

    @pytest.fixture
    def expected(self):
        rows = {"kite": [1, 0, 0], "owl": [0, 1, 0], "wren": [0, 0, 1]}
        return [
            ({"age": (age - 1) / 8, "species": np.array(rows[species], float), "ring": ring}, (label - 5) // 2, "train")
            for ring, (age, species, label) in enumerate(zip(AGES, SPECIES, LABELS, strict=True))
        ]


class TestEncodedArrays(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return arrays()[::-1].encode(fit_encoding(arrays(), {0: "min-max", 2: Ordinal()}, target="one-hot"))[1:]

    @pytest.fixture
    def expected(self):
        return [
            (
                np.array([np.float32(6 * n / 66), 6 * n + 1, n, *range(6 * n + 3, 6 * n + 6)], float),
                np.eye(3)[n % 3],
                "train",
            )
            for n in range(11)[::-1]
        ]


class TestEncodedByATransformer(DatasetIteratorTests):
    @pytest.fixture
    def iterator(self):
        return arrays().encode(Largest())

    @pytest.fixture
    def expected(self):
        return [(np.array([6 * n + 5], np.float32), n % 3, "train") for n in range(12)]


# What is learned


def columns_of_numbers():
    numbers = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6), st.just(7.25))
    return hnp.arrays(np.float64, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=numbers)


@settings(max_examples=150, deadline=None)
@given(columns_of_numbers(), st.integers(1, 8), st.integers(0, 10**9))
def test_scalers_are_those_of_scikit_learn(column, rows, large):
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    column = column + large
    if np.isnan(column).all(axis=0).any():
        with pytest.raises(ValueError, match="all values are missing in feature"):
            Standard().fit(column)
        return
    for ours, theirs in ((Standard(), StandardScaler()), (MinMax(), MinMaxScaler())):
        fitted = ours
        for start in range(0, len(column), rows):
            fitted = fitted.partial_fit(column[start : start + rows])
        wanted = theirs.fit(column)
        scale = getattr(wanted, "data_range_", wanted.scale_)
        shift, width = fitted.fitted().shift_and_scale
        assert np.allclose(shift, wanted.mean_ if theirs.__class__ is StandardScaler else wanted.data_min_, rtol=1e-14)
        wanted_width = np.where(scale == 0, 1, scale)
        assert np.allclose(width, wanted_width, rtol=1e-6 if large else 1e-9)
        assert type(fitted).from_json(json.loads(json.dumps(fitted.to_json()))) == fitted


def test_a_large_mean_costs_no_digits():
    column = np.array([4.0, 7.0, 13.0, 16.0]) + 1e9
    assert Standard().fit(column).shift_and_scale == (1e9 + 10, np.sqrt(22.5))
    piece_by_piece = Standard()
    for value in column:
        piece_by_piece = piece_by_piece.partial_fit(np.array([value]))
    assert piece_by_piece.shift_and_scale == (1e9 + 10, np.sqrt(22.5))


def test_a_constant_feature_is_only_shifted():
    column = np.full((1000, 2), 0.1)
    for encoder in (Standard(), MinMax()):
        assert np.abs(encoder.fit(column).transform(column + np.array([0, 3])) - [0, 3]).max() < 1e-12


@given(st.lists(st.one_of(st.text(max_size=3), st.just("owl")), min_size=1, max_size=30))
def test_categories_are_those_of_scikit_learn(values):
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    column = np.array(values, dtype=object)
    table = column.reshape(-1, 1)
    assert (OneHot().fit(column).transform(column) == OneHotEncoder(sparse_output=False).fit_transform(table)).all()
    assert (Ordinal().fit(column).transform(column) == OrdinalEncoder().fit_transform(table)[:, 0]).all()


@given(
    st.one_of(
        st.lists(st.text(), min_size=1),
        st.lists(st.integers(), min_size=1),
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
        st.lists(st.booleans(), min_size=1),
    )
)
def test_categories_keep_their_types_in_json(values):
    encoding = Encoding(OneHot().fit(values), Ordinal().fit(values), fitted_on=len(values))
    file = io.StringIO()
    ds.save_encoding(encoding, file)
    loaded = ds.load_encoding(io.StringIO(file.getvalue()))
    assert loaded == encoding
    assert list(map(type, loaded.target.categories)) == list(map(type, encoding.target.categories))
    assert loaded.target.transform(values).tolist() == encoding.target.transform(values).tolist()


def test_one_pass_in_batches_reads_each_sample_once(monkeypatch):
    monkeypatch.setattr(chunks, "MAX_ROWS", 16)
    leaf = RecordingLeaf(100)
    encoding = fit_encoding(leaf, "standard", target="one-hot")
    assert [index for batch in leaf.sample_batches for index in batch] == list(range(100))
    assert max(map(len, leaf.sample_batches)) == 16
    assert encoding.fitted_on == 100
    assert encoding.sample.shift_and_scale[0] == 49.5


def test_targets_alone_cost_no_samples():
    leaf = RecordingLeaf(100)
    encoding = fit_encoding(leaf, target="one-hot")
    encoded = leaf.encode(encoding)
    assert encoded.targets().shape == (100, 3)
    assert not leaf.sample_batches


def test_the_test_split_is_encoded_by_what_the_training_split_taught():
    numbers = SequenceDatasetIterator(np.array([1.0, 2.0, 3.0, 99.0]))
    train, test = numbers[:3], numbers[3:]
    encoding = fit_encoding(train, "min-max")
    assert test.encode(encoding)[0][0] == 49.0
    assert train.encode(encoding).take(range(3))[0].tolist() == [0, 0.5, 1]


# What is made


def test_one_vector_of_the_columns_that_are_named():
    encoding = fit_encoding(birds(), {"species": "one-hot", "age": "min-max"}, vector=True)
    encoded = birds().encode(encoding)
    assert encoded.take([1, 3])[0].tolist() == [[0, 0, 1, 0], [1, 0, 0, 1]]
    assert encoded[1][0].tolist() == [0, 0, 1, 0]


def test_tuples_are_encoded_by_place():
    pairs = SequenceDatasetIterator([(1, "a"), (3, "b")])
    encoded = pairs.encode(fit_encoding(pairs, {1: "ordinal"}))
    assert list(encoded) == [((1, 0), None, None), ((3, 1), None, None)]
    assert pairs.encode(fit_encoding(pairs, {1: "ordinal", 0: "standard"}, vector=True))[1][0].tolist() == [1, 1]


def test_images_are_scaled_pixel_by_pixel():
    images = SequenceDatasetIterator(np.arange(24, dtype=np.uint8).reshape(6, 2, 2))
    encoded = images.encode(fit_encoding(images, "standard"))
    samples = encoded.take(range(6))[0]
    assert samples.shape == (6, 2, 2)
    assert np.allclose(samples.mean(axis=0), 0)
    assert np.allclose(samples.std(axis=0), 1)


def test_types_of_numbers():
    for given_, made in (("f4", "f4"), ("f2", "f8"), ("f8", "f8"), ("u1", "f8"), ("?", "f8")):
        column = np.array([0, 1], given_)
        assert Standard().fit(column).transform(column).dtype == made
    assert Standard().fit(np.array([1, None, 3.0], object)).transform(np.array([None, 3], object)).tolist()[1] == 1
    assert OneHot().fit(np.array([1, 2])).transform([2.0]).dtype == np.float64
    assert Ordinal().fit([True, False]).transform(np.array([True])).dtype == np.int64


def test_class_names_follow_the_targets():
    named = SequenceDatasetIterator(["a", "b", "c"], [2, 0, 2], meta=META.replace(class_names=("owl", "wren", "kite")))
    assert named.encode(fit_encoding(named, target="ordinal")).meta.class_names == ("owl", "kite")
    assert named.encode(fit_encoding(named, target="one-hot")).meta.class_names == ("owl", "kite")
    assert named.encode(fit_encoding(named, target="standard")).meta.class_names is None
    texts = SequenceDatasetIterator(["a", "b"], ["wren", "owl"])
    assert texts.encode(fit_encoding(texts, target="ordinal")).meta.class_names == ("owl", "wren")
    by_size = fit_encoding(texts, target=Ordinal(order=("wren", "owl", "eagle")))
    assert texts.encode(by_size).targets().tolist() == [0, 1]
    assert texts.encode(by_size).meta.class_names == ("wren", "owl", "eagle")
    assert birds().encode(fit_encoding(birds(), {"age": "standard"})).meta == META


def test_a_batch_is_read_as_one():
    leaf = RecordingLeaf(50)
    encoded = leaf[::-1].encode(fit_encoding(leaf, "standard")).shuffle(1)
    leaf.sample_batches.clear()
    encoded.take(range(20))
    encoded.__getitems__(range(20))
    assert [len(batch) for batch in leaf.sample_batches] == [20, 20]


# What can't be encoded


@pytest.mark.parametrize(
    ("column", "encoder", "message"),
    [
        (["a", "b", 1], "one-hot", "of one kind"),
        (["a", None], "one-hot", r"a value is missing; OneHot\(unknown='ignore'\) gives a row of zeros"),
        ([1.5, np.nan], "ordinal", r"a value is missing; Ordinal\(unknown='ignore'\) gives -1"),
        ([b"a"], "ordinal", "b'a' is no category"),
        ([["a"]], "ordinal", "is no category"),
        (np.zeros((3, 2)), "one-hot", "name features by their numbers"),
        (["a"], "standard", "'a' is no number: 'one-hot'"),
        (np.array(["2024-01-01"], "M8[D]"), "standard", "are no numbers"),
        ([1.0, np.inf], "standard", "a value is infinite"),
        ([np.nan, None], "min-max", "all values are missing"),
        ([1e308, -1e308], "min-max", "too large"),
        ([1e200, -1e200], "standard", "too large"),
        ([{"a": 1}], "standard", "name those to encode"),
        ([(1, 2)], "one-hot", "name those to encode"),
    ],
    ids=repr,
)
def test_what_can_not_be_fitted_is_refused(column, encoder, message):
    with pytest.raises(ValueError, match=f"samples of 'birds' can't be encoded: .*{message}"):
        fit_encoding(SequenceDatasetIterator(column, meta=META), encoder)


def test_unknown_categories():
    train, test = birds()[:2], birds()[3:5]
    with pytest.raises(
        ValueError, match=r"column 'species' of 'birds' can't be encoded: 'kite' is not among .* 'owl', "
    ):
        test.encode(fit_encoding(train, {"species": "one-hot"})).take([0])
    zeros = fit_encoding(train, {"species": OneHot(unknown="ignore")})
    assert [sample["species"].tolist() for sample, _, _ in test.encode(zeros)] == [[0, 0], [0, 1]]
    minus = fit_encoding(train, {"species": Ordinal(unknown="ignore")})
    assert [sample["species"] for sample, _, _ in test.encode(minus)] == [-1, 1]
    missing = SequenceDatasetIterator(["a", None, "b"])
    assert missing.encode(fit_encoding(missing, OneHot("ignore"))).take([1])[0].tolist() == [[0, 0]]
    with pytest.raises(ValueError, match="a value is missing"):
        missing.encode(fit_encoding(missing[::2], "one-hot")).take([1])
    with pytest.raises(ValueError, match="'b' is not in the order 'a'"):
        fit_encoding(missing[::2], Ordinal(order=["a"]))
    with pytest.raises(ValueError, match="-1 is no class"):
        fit_encoding(train, target=Ordinal(unknown="ignore"))


def test_too_many_values_are_no_categories(monkeypatch):
    monkeypatch.setattr("datastack_fs.iterators.encoders.MOST_CATEGORIES", 50)
    with pytest.raises(ValueError, match="more than 50 different values"):
        fit_encoding(RecordingLeaf(100), "one-hot")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda data: data.encode(OneHot()), ValueError, "'one-hot' isn't fitted"),
        (lambda data: data.encode(Encoding({"age": Standard()})), ValueError, "'standard' isn't fitted"),
        (lambda data: data.encode({"age": "standard"}), TypeError, "fit_encoding"),
        (lambda data: data.encode("standard"), TypeError, "fit_encoding"),
        (lambda data: data.encode(OneHot), TypeError, "fit_encoding"),
        (lambda data: fit_encoding(data), ValueError, "needs an encoder"),
        (lambda data: fit_encoding(data, {}), ValueError, "no column"),
        (lambda data: fit_encoding(data, "normal"), ValueError, "'normal' is no encoder: 'one-hot', 'ordinal'"),
        (lambda data: fit_encoding(data, {"age": 3}), ValueError, "no encoder"),
        (lambda data: fit_encoding(data, {"weight": "standard"}), ValueError, "no column 'weight'; they have 'age', "),
        (lambda data: fit_encoding(data, {-1: "standard"}), TypeError, "from 0 on; not by -1"),
        (lambda data: fit_encoding(data, "standard", vector=True), ValueError, "vector=True"),
        (lambda data: fit_encoding(data[:0], target="ordinal"), ValueError, "no samples to fit"),
        (lambda data: fit_encoding([1, 2], "standard"), TypeError, "DatasetIterator"),
        (lambda data: OneHot(unknown="zero"), ValueError, "unknown must be"),
        (lambda data: Ordinal(order="abc"), TypeError, "not the text"),
        (lambda data: Ordinal(order=["a", "a"]), ValueError, "twice"),
    ],
)
def test_misuse_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make(birds())


def test_other_shapes_than_those_of_the_training_split_are_refused():
    encoding = fit_encoding(arrays(), "standard")
    with pytest.raises(ValueError, match=r"values have shape \(2,\); it was fitted on \(6,\)"):
        SequenceDatasetIterator(np.zeros((3, 2))).encode(encoding).take([0])
    ragged = SequenceDatasetIterator([np.zeros(2)] * 1 + [np.zeros(3)] * 4)
    with pytest.raises(ValueError, match=r"values have shape \(3,\) here, and \(2,\) before"):
        fit_encoding(ragged, "standard")
    with pytest.raises(ValueError, match="have no columns"):
        SequenceDatasetIterator([1, 2]).encode(fit_encoding(arrays(), {0: "standard"})).take([0])


# What is kept


def test_an_encoding_is_kept_as_json(tmp_path):
    encoding = fit_encoding(
        birds(), {"age": "standard", "species": OneHot("ignore"), "ring": "min-max"}, target="ordinal"
    )
    ds.save_encoding(encoding, tmp_path / "encoding.json")
    loaded = ds.load_encoding(tmp_path / "encoding.json")
    assert loaded == encoding
    assert hash(loaded.target) == hash(encoding.target)
    assert loaded.sample["age"].shift_and_scale == encoding.sample["age"].shift_and_scale
    assert [path.name for path in tmp_path.iterdir()] == ["encoding.json"]
    assert str(list(birds().encode(loaded))) == str(list(birds().encode(encoding)))
    assert pickle.loads(pickle.dumps(encoding)) == encoding
    numbered = fit_encoding(arrays(), {1: "standard"})
    ds.save_encoding(numbered, tmp_path / "numbered.json")
    assert list(ds.load_encoding(tmp_path / "numbered.json").sample) == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "is no encoding file"),
        (lambda text: text.replace("datastack-fs encoding", "datastack-fs split"), "save_encoding writes them"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "version 2; this release reads 1"),
        (lambda text: text.replace('"standard"', '"robust"'), "broken encoding file: KeyError"),
        (lambda text: text.replace('"mean": ', '"mien": '), "broken encoding file: KeyError"),
        (lambda text: text.replace('"mean": 4.0', '"mean": "x"'), "broken"),
        (lambda text: text.replace('"mean": 4.0', '"mean": [4.0]'), "different shapes"),
        (lambda text: text.replace('"mean": 4.0', '"mean": NaN'), "broken"),
        (lambda text: text.replace('"count": 5', '"count": 0'), "broken"),
        (lambda text: text.replace('"owl"', '["owl"]'), "broken"),
        (lambda text: text.replace('"owl"', '"wren"'), "twice"),
        (lambda text: text.replace('"error"', '"wrong"'), "broken"),
    ],
)
def test_a_broken_file_is_no_encoding(change, message):
    file = io.StringIO()
    ds.save_encoding(fit_encoding(birds(), {"age": "standard", "species": "ordinal"}), file)
    assert ds.load_encoding(io.StringIO(file.getvalue())).sample["age"].shift_and_scale[0] == 4.0
    changed = change(file.getvalue())
    assert changed != file.getvalue()
    with pytest.raises(DatasetFileCorruptError, match=message):
        ds.load_encoding(io.StringIO(changed))


# Transformers of scikit-learn


def test_transformers_are_taken_as_they_are():
    from sklearn.compose import make_column_transformer
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

    values = np.random.default_rng(0).random((20, 6))
    data = SequenceDatasetIterator(values, range(20))
    pca = PCA(2).fit(values)
    assert np.allclose(data.shuffle(1).encode(pca).take([3])[0], pca.transform(values)[data.shuffle(1).take([3])[1]])
    ages = np.array([1.0, 2, 3, 4])
    bins = KBinsDiscretizer(2, encode="onehot", strategy="uniform").fit(ages.reshape(-1, 1))  # gives sparse matrices
    assert SequenceDatasetIterator(ages).encode(bins).take([0, 3])[0].tolist() == [[1, 0], [0, 1]]
    pandas = pytest.importorskip("pandas")
    table = birds()
    columns = make_column_transformer((StandardScaler(), ["ring"]))
    columns.fit(pandas.DataFrame(table.take(range(6))[0]))
    assert np.allclose(table.encode(columns).take([0, 5])[0], [[-1.46385011], [1.46385011]])


def test_transformers_that_are_not_fitted_or_not_kept():
    from sklearn.preprocessing import StandardScaler

    with pytest.raises(ValueError, match="StandardScaler isn't fitted: fit it on the training split"):
        arrays().encode(StandardScaler())
    with pytest.raises(TypeError, match=r"a StandardScaler isn't saved as JSON, only what fit_encoding gives"):
        ds.save_encoding(StandardScaler().fit(np.zeros((2, 2))), io.StringIO())

    class Halving:
        def transform(self, column):
            return column[: len(column) // 2]

    with pytest.raises(ValueError, match="gave 1 rows for 2 of 'birds'"):
        arrays().encode(Halving()).take([0, 1])
