"""Fetching the files of a dataset from where they are published into a store."""

from datastack_fs.retrieval.definition import ResourceDefinition
from datastack_fs.retrieval.files import FileRetriever
from datastack_fs.retrieval.http import HTTPRetriever
from datastack_fs.retrieval.retriever import Retriever
from datastack_fs.retrieval.storage import StorageRetriever

__all__ = ["FileRetriever", "HTTPRetriever", "ResourceDefinition", "Retriever", "StorageRetriever"]
