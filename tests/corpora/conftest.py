"""What several tests of readers need."""

import csv

import pytest


@pytest.fixture
def short_cells(monkeypatch):
    """Limit a cell of CSV to 1,000 characters; the limit of Python's module is one for all tests."""
    monkeypatch.setattr("linkbert.corpora.readers.csv.LONGEST_CELL", 1_000)
    before = csv.field_size_limit()
    yield
    csv.field_size_limit(before)


@pytest.fixture
def write_zim(tmp_path):
    """Write a ZIM file of (path, title, HTML), or of (path, title, None, target) for a redirect, with libzim itself."""
    writer = pytest.importorskip("libzim.writer")

    class Page(writer.Item):
        def __init__(self, path, title, content, kind="text/html"):
            super().__init__()
            self.values = path, title, content, kind

        def get_path(self):
            return self.values[0]

        def get_title(self):
            return self.values[1]

        def get_mimetype(self):
            return self.values[3]

        def get_contentprovider(self):
            return writer.StringProvider(self.values[2])

        def get_hints(self):
            return {writer.Hint.FRONT_ARTICLE: True}

    def write(entries, name="site.zim", cluster=2048):
        path = tmp_path / name
        with writer.Creator(path).config_indexing(False, "eng").config_clustersize(cluster) as creator:
            for path_, title, *rest in entries:
                if rest[0] is None:
                    creator.add_redirection(path_, title, rest[1], {})
                else:
                    creator.add_item(Page(path_, title, *rest))
            creator.set_mainpath(entries[0][0])
            creator.add_metadata("Title", "A site")
        return path

    return write
