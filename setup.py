"""Installation. fastreid's own pins forbid a current torch, so it is installed beside this package with --no-deps."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1] for line in (HERE / "oamn_plugin/__init__.py").read_text().splitlines() if "__version__" in line
)

setup(
    name="oamn_plugin",
    version=VERSION,
    description="Occluded person re-identification (OAMN, ICCV 2021) as a plugin for fastreid and torchreid",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["oamn_plugin", "oamn_plugin.*"]),
    package_data={"oamn_plugin": ["py.typed", "**/*.html", "**/*.css", "**/*.safetensors", "**/*.json", "**/*.yml"]},
    install_requires=[
        "torch>=2.1",
        "torchvision>=0.16",
        "numpy>=1.24",
        "pillow>=10.1",
        "scikit-learn>=1.2",
        "scipy>=1.10",
        "matplotlib>=3.7",
        "safetensors>=0.4",
        "tqdm>=4.60",
        "pyyaml>=6",
        "jinja2>=3.1",
        # what fastreid 1.4.0 imports; fastreid itself comes with `pip install --no-deps fastreid==1.4.0`
        "yacs>=0.1.8",
        "tabulate>=0.9",
        "termcolor>=2.2",
        "tensorboard>=2.12",
        "opencv-python-headless>=4.7",
        "gdown>=4.6",
    ],
    extras_require={
        "timm": ["timm>=1.0"],
        "torchreid": ["h5py", "six"],  # torchreid itself comes with `pip install --no-deps torchreid==0.2.5`
        "bench": ["Cython>=3"],
        "export": ["onnx>=1.15", "onnxruntime>=1.17", "onnxscript"],
        "app": ["gradio>=5"],
        "search": ["faiss-cpu>=1.12"],  # approximate indexes
        "milvus": ["pymilvus>=2.5", "milvus-lite"],
        "dev": ["pytest>=8", "hypothesis>=6", "ruff>=0.6", "mypy>=1.8"],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
